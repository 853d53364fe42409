//! `KEEP=1`: what a failed test leaves is not cleared away but shown, until Ctrl-C.

use std::future::Future;
use std::io::Write as _;
use std::sync::OnceLock;

use keyvault_emulator::Emulator;
use tokio::runtime::Runtime;

use crate::namespace::Namespace;
use crate::tools;

/// Whether it was asked for.
#[expect(clippy::disallowed_methods, reason = "a switch of the tests, none of the product")]
fn is_asked_for() -> bool {
    std::env::var("KEEP").is_ok_and(|keep| !matches!(keep.as_str(), "" | "0"))
}

/// Whether this is the end of a failed test whose remains are to be kept.
pub(crate) fn is_time() -> bool {
    std::thread::panicking() && is_asked_for()
}

/// Starts something that is to outlast a test that failed: its own runtime stands still then.
pub(crate) async fn apart<T: Send + 'static>(start: impl Future<Output = T> + Send + 'static) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if !is_asked_for() {
        return start.await;
    }
    let runtime = RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"));
    runtime.spawn(start).await.expect("a start without a panic")
}

/// Says how to look at the namespace and what plays Azure for it, and stays until the program is ended.
pub(crate) fn stay(namespace: &Namespace, azure: Option<&Emulator>) -> ! {
    let (cluster, name) = (namespace.cluster(), &namespace.name);
    let mut lines = vec![
        "The test has failed. What it made is kept and its operator stands still until Ctrl-C.".to_owned(),
        format!("export KUBECONFIG={}", cluster.kubeconfig_for_admin().display()),
        format!("kubectl -n {name} get kv,vss,secrets,events -o yaml"),
        format!("grep {name} {}    # what the API server was asked", cluster.audit_log().display()),
    ];
    if let Ok(kubectl) = tools::tool("kubectl") {
        lines.insert(2, format!("alias kubectl={}", kubectl.display()));
    }
    if let Some(control) = azure.map(Emulator::control_url) {
        lines.push(format!("curl '{control}/requests?vault={name}'    # what the vault was asked"));
        lines.push(format!(
            "curl {control}/vaults/{name}/secrets    # more in tests/keyvault-emulator/README.md"
        ));
    }
    // Past the capture of a test's output, for it does not come to its end.
    writeln!(std::io::stderr(), "\n{}", lines.join("\n")).ok();
    loop {
        std::thread::park();
    }
}
