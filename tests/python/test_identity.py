"""Tokens: the vault's challenge, client secrets, certificates, federated assertions and managed identities."""

import base64
import datetime
import time
import uuid

import jwt
import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import (
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.keyvault.secrets import SecretClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

AUDIENCE = "api://AzureADTokenExchange"
SUBJECT = "system:serviceaccount:shop:shop"


class Cluster:
    """A Kubernetes cluster as Entra sees it: an issuer and its keys."""

    def __init__(self, control, kind: str = "RSA"):
        self.issuer = f"https://oidc.example/{uuid.uuid4()}"
        if kind == "RSA":
            self.key, self.algorithm = rsa.generate_private_key(65537, 2048), "RS256"
            public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        else:
            self.key, self.algorithm = ec.generate_private_key(ec.SECP256R1()), "ES256"
            public = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        key = {**public, "kid": "one", "use": "sig", "alg": self.algorithm}
        control.call("PUT", "/entra/issuers", {"issuer": self.issuer, "jwks": {"keys": [key]}})

    def token(self, key=None, **changes) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": SUBJECT, "aud": [AUDIENCE], "iat": now, "exp": now + 3600, **changes}
        return jwt.encode(claims, key or self.key, self.algorithm, headers={"kid": "one"})

    def federate(self, control, client_id: str):
        control.call("PUT", "/entra/federation", self.trust(control, client_id))

    def distrust(self, control, client_id: str):
        control.call("DELETE", "/entra/federation", self.trust(control, client_id))

    def trust(self, control, client_id: str) -> dict:
        return {
            "tenant": control.tenant,
            "clientId": client_id,
            "issuer": self.issuer,
            "subject": SUBJECT,
            "audience": AUDIENCE,
        }


def open_vault(vault, credential) -> SecretClient:
    return SecretClient(vault.url, credential, retry_total=0)


def refusal(vault, credential) -> str:
    with pytest.raises(ClientAuthenticationError) as refused:
        open_vault(vault, credential).get_secret("db")
    return refused.value.message


def test_the_first_request_is_challenged_and_the_second_carries_a_token(control, vault, secrets):
    vault.set("db", "one")
    assert secrets.get_secret("db").value == "one"
    first, second = vault.requests()
    assert (first["status"], first["clientId"]) == (401, None)
    assert (second["status"], second["clientId"]) == (200, vault.client_id)
    secrets.get_secret("db")
    assert vault.statuses() == [200, 200], "the token is kept"


def test_the_challenge_names_tenant_and_resource(control, vault):
    answer = requests.get(f"{vault.url}/secrets/db?api-version=7.4")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == (
        f'Bearer authorization="https://login.windows.net/{control.tenant}", resource="https://vault.azure.net"'
    )
    assert answer.json()["error"]["code"] == "Unauthorized"


@pytest.mark.parametrize("kind", ["RSA", "EC"])
def test_an_assertion_signed_by_a_trusted_issuer_gets_a_token(control, vault, kind):
    vault.set("db", "one")
    cluster = Cluster(control, kind)
    cluster.federate(control, vault.client_id)
    credential = ClientAssertionCredential(control.tenant, vault.client_id, cluster.token)
    assert open_vault(vault, credential).get_secret("db").value == "one"
    logged = [entry for entry in control.call("GET", "/token-requests") if entry["clientId"] == vault.client_id]
    assert [(entry["issuer"], entry["subject"], entry["audiences"]) for entry in logged] == [
        (cluster.issuer, SUBJECT, [AUDIENCE])
    ]


def test_a_projected_service_account_token_gets_a_token_until_it_is_distrusted(control, vault, tmp_path):
    vault.set("db", "one")
    cluster = Cluster(control)
    cluster.federate(control, vault.client_id)
    file = tmp_path / "token"
    file.write_text(cluster.token())

    def credential() -> WorkloadIdentityCredential:
        return WorkloadIdentityCredential(
            tenant_id=control.tenant, client_id=vault.client_id, token_file_path=str(file)
        )

    assert open_vault(vault, credential()).get_secret("db").value == "one"
    cluster.distrust(control, vault.client_id)
    assert "AADSTS700211:" in refusal(vault, credential())


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"iss": "https://oidc.example/another"}, 700211),
        ({"sub": "system:serviceaccount:shop:other"}, 700213),
        ({"aud": "https://kubernetes.default.svc"}, 700212),
        ({"exp": 1_700_000_000}, 700024),
    ],
)
def test_an_assertion_that_does_not_match_is_refused_by_number(control, vault, changes, number):
    cluster = Cluster(control)
    cluster.federate(control, vault.client_id)
    credential = ClientAssertionCredential(control.tenant, vault.client_id, lambda: cluster.token(**changes))
    assert f"AADSTS{number}:" in refusal(vault, credential)


def test_an_assertion_signed_by_a_stranger_is_refused(control, vault):
    cluster, stranger = Cluster(control), Cluster(control)
    cluster.federate(control, vault.client_id)
    credential = ClientAssertionCredential(
        control.tenant, vault.client_id, lambda: cluster.token(key=stranger.key)
    )
    assert "AADSTS700027:" in refusal(vault, credential)


def test_a_wrong_secret_an_unknown_application_and_tenant_are_refused_by_number(control, vault):
    wrong = ClientSecretCredential(control.tenant, vault.client_id, "guess")
    assert "AADSTS7000215:" in refusal(vault, wrong)
    unknown = ClientSecretCredential(control.tenant, str(uuid.uuid4()), "guess")
    assert "AADSTS700016:" in refusal(vault, unknown)


def test_an_unknown_tenant_is_refused(control, vault):
    # The client asks the tenant's discovery document first and words that refusal itself.
    credential = ClientSecretCredential(str(uuid.uuid4()), vault.client_id, vault.secret)
    with pytest.raises(ClientAuthenticationError, match="authority configuration"):
        credential.get_token("https://vault.azure.net/.default")
    answer = requests.post(
        f"https://login.microsoftonline.com/{uuid.uuid4()}/oauth2/v2.0/token",
        data={"grant_type": "client_credentials"},
    )
    assert (answer.status_code, answer.json()["error_codes"]) == (400, [90002])


def test_a_scope_that_is_not_the_vault_is_refused(control, vault):
    credential = ClientSecretCredential(control.tenant, vault.client_id, vault.secret)
    for scope, number in (("https://vault.azure.net", 1002012), ("https://storage.azure.com/.default", 500011)):
        with pytest.raises(ClientAuthenticationError, match=f"AADSTS{number}:"):
            credential.get_token(scope)


def test_a_token_of_another_tenant_is_refused(control, vault):
    vault.set("db", "one")
    token = ClientSecretCredential(control.tenant, vault.client_id, vault.secret).get_token(
        "https://vault.azure.net/.default"
    )
    vault.configure(tenant=str(uuid.uuid4()))
    answer = requests.get(
        f"{vault.url}/secrets/db?api-version=7.4", headers={"Authorization": f"Bearer {token.token}"}
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["message"].startswith("AKV10032:")


def test_a_token_that_was_changed_is_refused(control, vault):
    token = ClientSecretCredential(control.tenant, vault.client_id, vault.secret).get_token(
        "https://vault.azure.net/.default"
    )
    header, claims, signature = token.token.split(".")
    padded = base64.urlsafe_b64decode(claims + "==")
    forged = base64.urlsafe_b64encode(padded.replace(vault.client_id.encode(), b"0" * 36)).decode().rstrip("=")
    answer = requests.get(
        f"{vault.url}/secrets/db?api-version=7.4",
        headers={"Authorization": f"Bearer {header}.{forged}.{signature}"},
    )
    assert answer.status_code == 401


def test_a_claims_challenge_makes_the_client_ask_for_a_new_token_once(control, vault, secrets):
    vault.set("db", "one")
    secrets.get_secret("db")
    vault.fault("unauthorized", code="insufficient_claims", times=1)
    assert secrets.get_secret("db").value == "one"
    assert vault.statuses() == [200, 401, 200]
    asked = [entry for entry in control.call("GET", "/token-requests") if entry["clientId"] == vault.client_id]
    assert len(asked) == 2


@pytest.mark.parametrize("code", ["AKV10032", "AKV10022", "TokenExpired"])
def test_a_token_the_vault_refuses_is_renewed_once(vault, secrets, code):
    vault.set("db", "one")
    secrets.get_secret("db")
    vault.fault("unauthorized", code=code, times=1)
    assert secrets.get_secret("db").value == "one"
    vault.fault("unauthorized", code=code)
    with pytest.raises(ClientAuthenticationError, match=code):
        secrets.get_secret("db")


def test_a_busy_token_endpoint_is_tried_again(control, vault, secrets):
    vault.set("db", "one")
    control.call("POST", "/entra/faults", {"kind": "throttle", "secret": vault.client_id, "times": 1})
    control.call("POST", "/entra/faults", {"kind": "status", "status": 503, "secret": vault.client_id, "times": 1})
    assert secrets.get_secret("db").value == "one"
    asked = [entry for entry in control.call("GET", "/token-requests") if entry["clientId"] == vault.client_id]
    assert [entry["status"] for entry in asked] == [429, 503, 200]


def test_an_error_of_the_token_endpoint_on_demand_is_read(control, vault):
    control.call("POST", "/entra/faults", {"kind": "aadsts", "number": 7000222, "secret": vault.client_id})
    credential = ClientSecretCredential(control.tenant, vault.client_id, vault.secret)
    assert "AADSTS7000222:" in refusal(vault, credential)
    control.call("DELETE", "/entra/faults")
    with pytest.raises(HttpResponseError, match="SecretNotFound"):
        open_vault(vault, credential).get_secret("db")


class Certificate:
    """A self-signed certificate of an application, valid from a day ago for so many days."""

    def __init__(self, days: int = 30):
        key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "app")])
        begin = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + datetime.timedelta(days=days))
            .sign(key, hashes.SHA256())
        )
        self.key = key
        self.thumbprints = {
            header: base64.urlsafe_b64encode(certificate.fingerprint(kind)).decode().rstrip("=")
            for header, kind in (("x5t", hashes.SHA1()), ("x5t#S256", hashes.SHA256()))
        }
        self.pfx = pkcs12.serialize_key_and_certificates(
            b"app", key, certificate, None, serialization.NoEncryption()
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.both = self.pem.encode() + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def register(self, control, client_id: str):
        control.call(
            "PUT", "/entra/certificates", {"tenant": control.tenant, "clientId": client_id, "pem": self.pem}
        )

    def credential(self, control, client_id: str) -> CertificateCredential:
        return CertificateCredential(control.tenant, client_id, certificate_data=self.both)


def test_a_registered_certificate_gets_a_token_until_another_takes_its_place(control, vault):
    vault.set("db", "one")
    first, second = Certificate(), Certificate()
    first.register(control, vault.client_id)
    assert open_vault(vault, first.credential(control, vault.client_id)).get_secret("db").value == "one"
    second.register(control, vault.client_id)
    assert "AADSTS700027:" in refusal(vault, first.credential(control, vault.client_id))
    assert open_vault(vault, second.credential(control, vault.client_id)).get_secret("db").value == "one"


def test_a_certificate_in_pfx_gets_a_token(control, vault):
    vault.set("db", "one")
    certificate = Certificate()
    certificate.register(control, vault.client_id)
    credential = CertificateCredential(control.tenant, vault.client_id, certificate_data=certificate.pfx)
    assert open_vault(vault, credential).get_secret("db").value == "one"


@pytest.mark.parametrize(("algorithm", "header"), [("RS256", "x5t"), ("PS256", "x5t#S256")])
def test_a_certificate_is_known_by_either_of_its_thumbprints(control, vault, algorithm, header):
    vault.set("db", "one")
    own, stranger = Certificate(), Certificate()
    own.register(control, vault.client_id)

    def signed(key, thumbprint: str, **changes) -> ClientAssertionCredential:
        now = int(time.time())
        claims = {
            "iss": vault.client_id,
            "sub": vault.client_id,
            "aud": f"https://login.microsoftonline.com/{control.tenant}/oauth2/v2.0/token",
            "nbf": now,
            "exp": now + 600,
            "jti": str(uuid.uuid4()),
            **changes,
        }
        assertion = jwt.encode(claims, key, algorithm, headers={header: thumbprint})
        return ClientAssertionCredential(control.tenant, vault.client_id, lambda: assertion)

    good = signed(own.key, own.thumbprints[header])
    assert open_vault(vault, good).get_secret("db").value == "one"
    assert "AADSTS700027:" in refusal(vault, signed(own.key, stranger.thumbprints[header]))
    assert "AADSTS700027:" in refusal(vault, signed(stranger.key, own.thumbprints[header]))
    assert "AADSTS700024:" in refusal(vault, signed(own.key, own.thumbprints[header], exp=1_700_000_000))
    assert "AADSTS700023:" in refusal(vault, signed(own.key, own.thumbprints[header], aud="https://elsewhere"))
    assert "AADSTS700021:" in refusal(vault, signed(own.key, own.thumbprints[header], iss=str(uuid.uuid4())))


def test_an_expired_certificate_is_refused(control, vault):
    expired = Certificate(days=0)
    expired.register(control, vault.client_id)
    assert "AADSTS700027:" in refusal(vault, expired.credential(control, vault.client_id))


def test_a_rotated_client_secret_replaces_the_old_one_and_an_expired_one_is_told_apart(control, vault):
    vault.set("db", "one")
    application = {"tenant": control.tenant, "clientId": vault.client_id}
    control.call("PUT", "/entra/secrets", {**application, "secret": "second"})
    old = ClientSecretCredential(control.tenant, vault.client_id, vault.secret)
    assert "AADSTS7000215:" in refusal(vault, old)
    new = ClientSecretCredential(control.tenant, vault.client_id, "second")
    assert open_vault(vault, new).get_secret("db").value == "one"
    control.call("PUT", "/entra/secrets/expired", application)
    later = ClientSecretCredential(control.tenant, vault.client_id, "second")
    assert "AADSTS7000222:" in refusal(vault, later)


@pytest.fixture
def node(control, monkeypatch):
    """A node with managed identities, as App Service offers them."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", control.identity_endpoint)
    monkeypatch.setenv("IDENTITY_HEADER", control.identity_header)
    assigned = []

    def assign(client_id, resource_id=None):
        assigned.append(client_id)
        body = {"tenant": control.tenant, "clientId": client_id, "resourceId": resource_id}
        return control.call("PUT", "/identities", body)["objectId"]

    yield assign
    for client_id in assigned:
        control.call("DELETE", f"/identities/{client_id}")


def test_the_nodes_own_managed_identity_gets_a_token(control, vault, node):
    vault.set("db", "one")
    node(vault.client_id)
    assert open_vault(vault, ManagedIdentityCredential()).get_secret("db").value == "one"
    asked = control.call("GET", "/token-requests")[-1]
    assert (asked["endpoint"], asked["tenant"], asked["scope"]) == (
        "appService",
        control.tenant,
        "https://vault.azure.net",
    )


def test_a_managed_identity_is_found_by_each_of_its_ids(vault, node):
    vault.set("db", "one")
    resource = f"/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{vault.name}"
    object_id = node(vault.client_id, resource)
    for credential in (
        ManagedIdentityCredential(client_id=vault.client_id),
        ManagedIdentityCredential(identity_config={"object_id": object_id}),
        ManagedIdentityCredential(identity_config={"resource_id": resource}),
    ):
        assert open_vault(vault, credential).get_secret("db").value == "one"


def test_a_managed_identity_that_is_not_assigned_is_refused(vault, node):
    credential = ManagedIdentityCredential(client_id=str(uuid.uuid4()))
    assert "Identity not found" in refusal(vault, credential)


def test_a_wrong_identity_header_is_refused(control, vault, node, monkeypatch):
    node(vault.client_id)
    monkeypatch.setenv("IDENTITY_HEADER", "guess")
    assert refusal(vault, ManagedIdentityCredential())
    assert control.call("GET", "/token-requests")[-1]["status"] == 401


def test_a_managed_identity_that_is_taken_from_the_node_is_refused(control, vault, node):
    vault.set("db", "one")
    node(vault.client_id)
    assert open_vault(vault, ManagedIdentityCredential(client_id=vault.client_id)).get_secret("db").value == "one"
    control.call("DELETE", f"/identities/{vault.client_id}")
    assert "Identity not found" in refusal(vault, ManagedIdentityCredential(client_id=vault.client_id))


@pytest.fixture
def machine(control, node, monkeypatch):
    """The same node as a virtual machine: IMDS, at another address than its own."""
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    monkeypatch.delenv("IDENTITY_HEADER")
    origin = control.identity_endpoint.removesuffix("/msi/token")
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", origin)
    # As on a real node: the address of the metadata service is not for a proxy.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return node


def test_imds_gives_a_token_to_each_id_of_an_identity(control, vault, machine):
    vault.set("db", "one")
    resource = f"/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{vault.name}"
    object_id = machine(vault.client_id, resource)
    for credential in (
        ManagedIdentityCredential(client_id=vault.client_id),
        ManagedIdentityCredential(identity_config={"object_id": object_id}),
        ManagedIdentityCredential(identity_config={"msi_res_id": resource}),
    ):
        assert open_vault(vault, credential).get_secret("db").value == "one"
        assert control.call("GET", "/token-requests")[-1]["endpoint"] == "imds"


def test_imds_refuses_an_identity_that_is_not_assigned(control, vault, machine):
    assert refusal(vault, ManagedIdentityCredential(client_id=str(uuid.uuid4())))
    assert control.call("GET", "/token-requests")[-1]["status"] == 400
