"""One emulator for the run, one vault for each test.

The clients are used as a customer uses them behind a corporate proxy: real host names, HTTPS_PROXY and a CA bundle,
and no option that switches a check off.
"""

import json
import os
import pathlib
import re
import subprocess
import uuid

import pytest
import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Control:
    """The emulator's control API."""

    def __init__(self, address: dict):
        self.url = address["control"]
        self.tenant = address["tenant"]
        self.identity_endpoint = address["identityEndpoint"]
        self.identity_header = address["identityHeader"]
        self.session = requests.Session()
        # The control API is plain HTTP on loopback: never through a proxy.
        self.session.trust_env = False

    def call(self, method: str, path: str, body=None):
        answer = self.session.request(method, self.url + path, json=body)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


class Vault:
    """A vault of the emulator, with its own application that may do everything in it."""

    def __init__(self, control: Control, name: str):
        self.control = control
        self.name = name
        self.path = f"/vaults/{name}"
        self.client_id = str(uuid.uuid4())
        self.secret = f"secret-of-{name}"
        self.url = control.call("PUT", self.path, {})["url"]
        self.grant()
        control.call(
            "PUT",
            "/entra/secrets",
            {"tenant": control.tenant, "clientId": self.client_id, "secret": self.secret},
        )

    def configure(self, **settings):
        self.control.call("PUT", self.path, settings)

    def grant(self, **what):
        self.control.call("PUT", f"{self.path}/grants/{self.client_id}", what)

    def revoke(self):
        self.control.call("DELETE", f"{self.path}/grants/{self.client_id}")

    def set(self, name: str, value: str, **options) -> str:
        return self.control.call("PUT", f"{self.path}/secrets/{name}", {"value": value, **options})["version"]

    def set_certificate(self, name: str, **body) -> str:
        return self.control.call("PUT", f"{self.path}/certificates/{name}", body)["version"]

    def set_key(self, name: str, kind: str, **body) -> str:
        return self.control.call("PUT", f"{self.path}/keys/{name}", {"kind": kind, **body})["version"]

    def change(self, objects: str, name: str, **what):
        self.control.call("PATCH", f"{self.path}/{objects}/{name}", what)

    def act(self, name: str, action: str, objects: str = "secrets"):
        self.control.call("POST", f"{self.path}/{objects}/{name}/{action}")

    def fault(self, kind: str, **details):
        self.control.call("POST", f"{self.path}/faults", {"kind": kind, **details})

    def requests(self) -> list:
        return self.control.call("GET", f"/requests?vault={self.name}")

    def statuses(self) -> list:
        """What the requests that carried a token were answered."""
        return [request["status"] for request in self.requests() if request["clientId"]]


@pytest.fixture(scope="session")
def control(tmp_path_factory):
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = os.environ.get("KEYVAULT_EMULATOR", str(target / "debug" / "keyvault-emulator"))
    bundle = tmp_path_factory.mktemp("emulator") / "ca.pem"
    emulator = subprocess.Popen([binary, "--ca-out", str(bundle)], stdout=subprocess.PIPE, text=True)
    try:
        line = emulator.stdout.readline()
        assert line, f"{binary} ended with {emulator.wait()} before it was ready"
        address = json.loads(line)
        with pytest.MonkeyPatch.context() as environment:
            for name in list(os.environ):
                if name.upper() in ("NO_PROXY", "HTTP_PROXY", "ALL_PROXY", "HTTPS_PROXY", "CURL_CA_BUNDLE"):
                    environment.delenv(name)
                if name.startswith(("AZURE_", "IDENTITY_", "MSI_")):
                    environment.delenv(name)
            environment.setenv("HTTPS_PROXY", address["proxy"])
            environment.setenv("REQUESTS_CA_BUNDLE", str(bundle))
            yield Control(address)
    finally:
        emulator.terminate()
        emulator.wait()


@pytest.fixture
def vault(control, request):
    words = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).removeprefix("test-")
    name = f"{words[:13].strip('-')}-{uuid.uuid4().hex[:8]}"
    made = Vault(control, name)
    yield made
    control.call("DELETE", made.path)


@pytest.fixture
def credential(control, vault):
    from azure.identity import ClientSecretCredential

    with ClientSecretCredential(control.tenant, vault.client_id, vault.secret) as credential:
        yield credential


# Retries that do not slow a test.
RETRIES = {"retry_total": 3, "retry_status": 3, "retry_backoff_factor": 0.01}


@pytest.fixture
def secrets(vault, credential):
    """Microsoft's client, signed in by a client secret."""
    from azure.keyvault.secrets import SecretClient

    with SecretClient(vault.url, credential, **RETRIES) as client:
        yield client


@pytest.fixture
def keys(vault, credential):
    from azure.keyvault.keys import KeyClient

    with KeyClient(vault.url, credential, **RETRIES) as client:
        yield client


@pytest.fixture
def certificates(vault, credential):
    from azure.keyvault.certificates import CertificateClient

    with CertificateClient(vault.url, credential, **RETRIES) as client:
        yield client
