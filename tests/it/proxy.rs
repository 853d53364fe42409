//! The way out through a proxy: what is wrong with it is told as that, and its variables mean what they mean to kubectl.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use keyvault_emulator::Emulator;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use vaultsync::vault::Transport;

use crate::failures::{NoNames, both_heal, both_say, nobody, waiting};
use crate::program::{authority, binary};
use support::scene::OperatorScene;

/// A proxy before the emulator's: it takes one user's word, or refuses; and leads to the API server by its name.
struct Gatekeeper {
    address: SocketAddr,
    /// The heads of all requests.
    heads: Arc<Mutex<Vec<String>>>,
}

/// What a gatekeeper does.
#[derive(Clone)]
struct Orders {
    /// The emulator's proxy.
    next: String,
    /// What each request must prove itself with.
    password: Option<&'static str>,
    /// How every request is answered instead.
    refuses: Option<&'static str>,
    /// Where `kubernetes.default.svc` is.
    api_server: Option<SocketAddr>,
}

impl Orders {
    fn none(emulator: &Emulator) -> Self {
        Self {
            next: emulator.proxy_url().trim_start_matches("http://").to_owned(),
            password: None,
            refuses: None,
            api_server: None,
        }
    }
}

impl Gatekeeper {
    async fn start(orders: Orders) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, orders.clone(), Arc::clone(&seen)));
            }
        });
        Self { address, heads }
    }

    fn targets(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        heads.iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
    }
}

async fn serve(mut stream: TcpStream, orders: Orders, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
        // A TLS handshake.
        if head == [0x16] {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    heads.lock().unwrap().push(head.clone());
    let proof =
        orders.password.map(|password| format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(password)));
    let refusal = match proof {
        Some(proof) if !head.to_lowercase().contains(&proof.to_lowercase()) => {
            Some("407 Proxy Authentication Required")
        }
        _ => orders.refuses,
    };
    if let Some(refusal) = refusal {
        let answer = format!("HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok();
        return;
    }
    let target = head.split(' ').nth(1).unwrap();
    let mut next = match orders.api_server {
        Some(api_server) if target.starts_with("kubernetes.default.svc:") => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            TcpStream::connect(api_server).await.unwrap()
        }
        _ => {
            let mut next = TcpStream::connect(&orders.next).await.unwrap();
            let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
            next.write_all(connect.as_bytes()).await.unwrap();
            next
        }
    };
    copy_bidirectional(&mut stream, &mut next).await.ok();
}

const VAULT: &str = ".vault.azure.net";
const LOGIN: &str = "login.microsoftonline.com";

/// Leads hosts that end so through `proxy` until the way is `mended`, all others through the emulator's.
fn through(emulator: &Emulator, end: &'static str, proxy: String, mended: &Arc<AtomicBool>) -> Transport {
    let (good, ca, mended) = (emulator.proxy_url(), emulator.ca_pem().to_owned(), Arc::clone(mended));
    Transport::new(
        Arc::new(move || {
            let (good, proxy, mended) = (good.clone(), proxy.clone(), Arc::clone(&mended));
            let way = reqwest::Proxy::custom(move |url| {
                let broken = url.host_str().is_some_and(|host| host.ends_with(end));
                Some(if broken && !mended.load(Ordering::SeqCst) { proxy.clone() } else { good.clone() })
            });
            let root = reqwest::Certificate::from_pem(ca.as_bytes()).unwrap();
            reqwest::Client::builder().proxy(way).dns_resolver(Arc::new(NoNames)).tls_certs_only([root])
        }),
        true,
    )
}

#[tokio::test]
async fn what_is_wrong_with_the_proxy_is_told_as_that_and_heals() {
    let scene = waiting().await;
    let refusing = |refuses| Orders { refuses: Some(refuses), ..Orders::none(&scene.emulator) };
    let forbids = Gatekeeper::start(refusing("403 Forbidden")).await.address;
    let overloaded = Gatekeeper::start(refusing("503 Service Unavailable")).await.address;
    let asks = Orders { password: Some("u:p"), ..Orders::none(&scene.emulator) };
    let asks = Gatekeeper::start(asks).await.address;
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let never = silent.local_addr().unwrap();
    let cases = [
        (
            VAULT,
            "http://proxy.example.com:3128".to_owned(),
            "The proxy's host name does not resolve",
            "proxy.https",
        ),
        (VAULT, format!("http://{}", nobody()), "No connection to the proxy", "network policies"),
        // It speaks no TLS.
        (VAULT, format!("https://{asks}"), "No TLS session with the proxy", "caBundle"),
        (VAULT, format!("http://{asks}"), "asks for a user name and a password", "percent-encoded"),
        (VAULT, format!("http://u:canary@{asks}"), "does not accept those in HTTPS_PROXY", "proxy.secret"),
        (VAULT, format!("http://{forbids}"), "does not connect to the vault", "port 443"),
        (VAULT, format!("http://{overloaded}"), "does not connect to the vault", "proxy.noProxy"),
        (VAULT, format!("http://{never}"), "No connection to the vault through the proxy", "HTTPS_PROXY"),
        (LOGIN, format!("http://{}", nobody()), "No connection to the proxy", "HTTPS_PROXY"),
        (LOGIN, format!("http://{forbids}"), "does not connect to the token service", "port 443"),
    ];
    for (end, proxy, said, remedy) in cases {
        let mut scene = waiting().await;
        let mended = Arc::new(AtomicBool::new(false));
        scene.network = Some(through(&scene.emulator, end, proxy, &mended));
        scene.start().await;
        both_say(&scene, "ProxyFailed", &[said, remedy]).await;
        mended.store(true, Ordering::SeqCst);
        both_heal(&scene).await;
    }
}

/// Runs `vaultsync check` of the default connection.
async fn check(scene: &OperatorScene, variables: &[(&str, String)]) -> String {
    let cluster = scene.namespace.cluster();
    let mut command = Command::new(binary());
    command
        .args(["check", "kv/default", "-n", &scene.namespace.name])
        .env_clear()
        .env("KUBECONFIG", cluster.kubeconfig_for_admin())
        .env("SSL_CERT_FILE", authority(cluster, &scene.emulator));
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let Output { stdout, stderr, .. } =
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    String::from_utf8([stdout, stderr].concat()).unwrap()
}

#[tokio::test]
async fn a_proxy_gets_its_user_name_and_password_whatever_characters_they_have() {
    let scene = OperatorScene::without_operator().await;
    let orders = Orders { password: Some("us:er@p#/%?"), ..Orders::none(&scene.emulator) };
    let gatekeeper = Gatekeeper::start(orders).await;
    let proxy = |user: &str| ("HTTPS_PROXY", format!("http://{user}@{}", gatekeeper.address));
    let report = check(&scene, &[proxy("us:er%40p%23%2F%25%3F")]).await;
    assert!(report.ends_with("The connection works.\n"), "{report}");
    let report = check(&scene, &[proxy("us:canary")]).await;
    assert!(report.contains("ProxyFailed: The proxy asks for a user name"), "{report}");
    assert!(!report.contains("canary"), "{report}");
    // Not encoded: told at once, and nothing of it is printed.
    let report = check(&scene, &[proxy("us:canary#1")]).await;
    assert!(
        report.starts_with("vaultsync: HTTPS_PROXY is no URL of a proxy. Write http://host:port"),
        "{report}"
    );
    assert!(!report.contains("canary"), "{report}");
    let report = check(&scene, &[("HTTPS_PROXY", "socks5://proxy:1080".to_owned())]).await;
    assert!(report.contains("kind of proxy that vaultsync does not support"), "{report}");
}

#[tokio::test]
async fn no_proxy_and_the_small_names_mean_what_they_mean_to_kubectl() {
    let scene = OperatorScene::without_operator().await;
    let (good, nobody) = (scene.emulator.proxy_url(), format!("http://{}", nobody()));
    let works = |report: &str| assert!(report.ends_with("The connection works.\n"), "{report}");
    works(&check(&scene, &[("https_proxy", good.trim_start_matches("http://").to_owned())]).await);
    works(&check(&scene, &[("HTTPS_PROXY", good.clone()), ("https_proxy", nobody.clone())]).await);
    works(&check(&scene, &[("HTTPS_PROXY", good.clone()), ("ALL_PROXY", nobody)]).await);
    // A port that is another's, and names that only end alike.
    let others = "vault.azure.net:8443,ult.azure.net,.microsoftonline.org";
    works(&check(&scene, &[("HTTPS_PROXY", good.clone()), ("NO_PROXY", others.to_owned())]).await);
    for excepted in [".vault.azure.net", "azure.net:443", "*"] {
        let report = check(&scene, &[("HTTPS_PROXY", good.clone()), ("no_proxy", excepted.to_owned())]).await;
        assert!(report.contains("VaultHostNotFound: "), "{excepted}: {report}");
    }
}

#[tokio::test]
async fn the_api_server_is_reached_as_kubectl_reaches_it() {
    let scene = OperatorScene::without_operator().await;
    let cluster = scene.namespace.cluster();
    let own = std::fs::read_to_string(cluster.kubeconfig_for_admin()).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&own).unwrap();
    let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
    let address: SocketAddr = server.trim_start_matches("https://").parse().unwrap();
    let orders = Orders { api_server: Some(address), ..Orders::none(&scene.emulator) };
    let gatekeeper = Gatekeeper::start(orders.clone()).await;
    let name = format!("kubernetes.default.svc:{}", address.port());
    config["clusters"][0]["cluster"]["server"] = format!("https://{name}").into();
    let write = |config: &serde_json::Value, name: &str| -> PathBuf {
        cluster.processes.write(&format!("{}.{name}", scene.namespace.name), &config.to_string()).unwrap()
    };
    let kubeconfig =
        |config: &serde_json::Value, name: &str| ("KUBECONFIG", write(config, name).display().to_string());
    let proxy = |gatekeeper: &Gatekeeper| ("HTTPS_PROXY", format!("http://{}", gatekeeper.address));

    // By the proxy of the environment, whose own address in NO_PROXY is of no matter.
    let no_proxy = ("NO_PROXY", gatekeeper.address.ip().to_string());
    let report = check(&scene, &[kubeconfig(&config, "env"), proxy(&gatekeeper), no_proxy]).await;
    assert!(report.ends_with("The connection works.\n"), "{report}");
    assert!(gatekeeper.targets().contains(&name), "{:?}", gatekeeper.targets());

    // By none where NO_PROXY names it: here its name does not resolve.
    let no_proxy = ("NO_PROXY", ".svc".to_owned());
    let report = check(&scene, &[kubeconfig(&config, "none"), proxy(&gatekeeper), no_proxy]).await;
    assert!(report.starts_with("vaultsync: "), "{report}");

    // By its own, whatever NO_PROXY says.
    let other = Gatekeeper::start(orders).await;
    config["clusters"][0]["cluster"]["proxy-url"] = format!("http://{}", other.address).into();
    let no_proxy = ("NO_PROXY", ".svc,127.0.0.1".to_owned());
    let report = check(&scene, &[kubeconfig(&config, "own"), proxy(&gatekeeper), no_proxy]).await;
    assert!(report.ends_with("The connection works.\n"), "{report}");
    assert!(other.targets().contains(&name), "{:?}", other.targets());
}

#[tokio::test]
async fn certificates_to_trust_are_checked_at_the_start() {
    let scene = OperatorScene::without_operator().await;
    let host = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/credentials/host.pem");
    for (file, said) in [
        (host, "the certificates are those of hosts, which issue no others"),
        ("/nowhere/ca.crt", "SSL_CERT_FILE names /nowhere/ca.crt, which cannot be read"),
        ("/dev/null", "write one or more certificates as PEM"),
    ] {
        let report = check(&scene, &[("SSL_CERT_FILE", file.to_owned())]).await;
        assert!(report.starts_with("vaultsync: SSL_CERT_FILE names ") && report.contains(said), "{report}");
    }
}

#[tokio::test]
async fn an_authority_that_is_added_to_the_trusted_file_counts_without_a_restart() {
    let mut scene = waiting().await;
    // A proxy that intercepts TLS: the vault shows a certificate of an authority that is not known.
    scene.vault.set_host(&format!("{}.vault.azure.net", scene.vault.name()));
    let file = authority(scene.namespace.cluster(), &scene.emulator);
    let (proxy, certificates) = (scene.emulator.proxy_url(), file.clone());
    let make = move || {
        let pem = std::fs::read(&certificates).unwrap();
        let roots = reqwest::Certificate::from_pem_bundle(&pem).unwrap();
        reqwest::Client::builder().proxy(reqwest::Proxy::https(&proxy).unwrap()).tls_certs_only(roots)
    };
    scene.network = Some(Transport::new(Arc::new(make), true).with_certificates(vec![file.clone()]));
    scene.start().await;
    both_say(&scene, "TlsFailure", &["No TLS session with the vault"]).await;
    let both = format!("{}{}", scene.emulator.ca_pem(), scene.emulator.private_ca_pem());
    std::fs::write(&file, both).unwrap();
    both_heal(&scene).await;
}
