"""Certificates with their keys and secrets, as the official clients see them."""

import base64
import hashlib
from datetime import datetime, timedelta, timezone

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.certificates import (
    ApiVersion,
    CertificateClient,
    CertificateContentType,
    CertificateOperation,
    CertificatePolicy,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

QUICKLY = {"_polling_interval": 0.01}
PEM = CertificateContentType.pem
PFX = CertificateContentType.pkcs12


def inner_code(error: HttpResponseError) -> str:
    return error.error.innererror["code"]


def policy(**properties) -> CertificatePolicy:
    return CertificatePolicy(issuer_name="Self", subject="CN=shop.test", **properties)


def octets(key) -> bytes:
    """A public key, to be compared."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def signed(name: str, key, issuer: str, issuer_key, is_ca: bool) -> x509.Certificate:
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


class Chain:
    """A leaf, its intermediate and its root."""

    def __init__(self, key=None):
        root_key, middle_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.root = signed("root", root_key, "root", root_key, True)
        self.middle = signed("middle", middle_key, "root", root_key, True)
        self.leaf = signed("shop.test", self.key, "middle", middle_key, False)

    def pfx(self, password: bytes = b"") -> bytes:
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return pkcs12.serialize_key_and_certificates(
            b"shop", self.key, self.leaf, [self.middle, self.root], encryption
        )

    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def pem(self) -> bytes:
        """Root first, as some tools write it."""
        order = (self.root, self.middle, self.leaf)
        return self.key_pem() + b"".join(one.public_bytes(serialization.Encoding.PEM) for one in order)


def open_pfx(secret):
    """Key, leaf and others of a secret whose value is a PFX without password."""
    assert secret.properties.content_type == "application/x-pkcs12"
    return pkcs12.load_key_and_certificates(base64.b64decode(secret.value, validate=True), None)


@pytest.mark.parametrize(
    "key", [{"key_type": "RSA", "key_size": 2048}, {"key_type": "RSA", "key_size": 3072}, {"key_type": "EC"}]
)
def test_a_created_certificate_is_one_with_its_key_and_its_secret(vault, certificates, secrets, keys, key):
    made = certificates.begin_create_certificate("tls", policy(san_dns_names=["shop.test"], **key), **QUICKLY).result()
    version = made.properties.version
    certificate = x509.load_der_x509_certificate(made.cer)
    assert made.id == f"{vault.url}/certificates/tls/{version}"
    assert (made.key_id, made.secret_id) == (
        f"{vault.url}/keys/tls/{version}",
        f"{vault.url}/secrets/tls/{version}",
    )
    assert made.properties.x509_thumbprint == hashlib.sha1(made.cer).digest()
    assert made.properties.not_before == certificate.not_valid_before_utc
    assert made.properties.expires_on == certificate.not_valid_after_utc
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    ) == ["shop.test"]
    secret = secrets.get_secret("tls")
    assert (secret.properties.managed, secret.properties.key_id) == (True, made.key_id)
    assert secret.properties.version == version
    assert secret.properties.expires_on == made.properties.expires_on
    private, leaf, others = open_pfx(secret)
    assert (leaf, others) == (certificate, [])
    assert octets(private.public_key()) == octets(certificate.public_key())
    shown = keys.get_key("tls")
    assert (shown.id, shown.properties.managed) == (made.key_id, True)
    if key["key_type"] == "RSA":
        assert int.from_bytes(shown.key.n, "big") == certificate.public_key().public_numbers().n
        assert made.policy.key_size == key["key_size"]
    else:
        assert int.from_bytes(shown.key.x, "big") == certificate.public_key().public_numbers().x
        assert made.policy.key_curve_name == "P-256"


def test_a_created_certificate_is_kept_as_pem_if_its_policy_says_so(certificates, secrets):
    certificates.begin_create_certificate("tls", policy(content_type=PEM), **QUICKLY).result()
    secret = secrets.get_secret("tls")
    assert secret.properties.content_type == "application/x-pem-file"
    assert secret.value.startswith("-----BEGIN PRIVATE KEY-----\n"), "the key comes first"
    assert secret.value.endswith("-----END CERTIFICATE-----\n") and "\r" not in secret.value
    key = serialization.load_pem_private_key(secret.value.encode(), None)
    assert octets(key.public_key()) == octets(x509.load_pem_x509_certificate(secret.value.encode()).public_key())


def test_a_certificate_in_the_making_has_a_disabled_secret(vault, certificates, secrets):
    poller = certificates.begin_create_certificate(
        "tls", CertificatePolicy(issuer_name="Unknown", subject="CN=shop.test"), **QUICKLY
    )
    pending = poller.result()
    assert isinstance(pending, CertificateOperation)
    assert (pending.status, pending.issuer_name, pending.name) == ("inProgress", "Unknown", "tls")
    assert x509.load_der_x509_csr(pending.csr).subject == named("shop.test")
    assert [found.enabled for found in secrets.list_properties_of_secrets()] == [False]
    with pytest.raises(HttpResponseError) as refused:
        secrets.get_secret("tls")
    assert inner_code(refused.value) == "SecretDisabled"
    assert list(certificates.list_properties_of_certificates()) == []
    listed = certificates.list_properties_of_certificates(include_pending=True)
    assert [(found.name, found.enabled) for found in listed] == [("tls", False)]
    assert not certificates.get_certificate("tls").cer
    with pytest.raises(ResourceExistsError):
        certificates.begin_create_certificate("tls", policy())
    # The authority's answer comes.
    version = vault.set_certificate("tls", selfSigned={"host": "shop.test", "kind": "RSA-2048"})
    done = certificates.get_certificate_operation("tls")
    assert (done.status, done.target) == ("completed", f"{vault.url}/certificates/tls")
    assert secrets.get_secret("tls").properties.version == version
    assert [found.version for found in secrets.list_properties_of_secret_versions("tls")] == [version]


def test_a_pending_certificate_is_cancelled_and_forgotten(certificates, secrets):
    certificates.begin_create_certificate("tls", CertificatePolicy(issuer_name="Unknown", subject="CN=x"))
    assert certificates.cancel_certificate_operation("tls").cancellation_requested
    assert certificates.delete_certificate_operation("tls").status == "cancelled"
    with pytest.raises(ResourceNotFoundError) as missing:
        certificates.get_certificate_operation("tls")
    assert missing.value.error.code == "PendingCertificateNotFound"
    assert list(secrets.list_properties_of_secrets()) == []


def test_a_renewal_shows_the_old_version_until_it_is_made(vault, certificates, secrets):
    first = certificates.begin_create_certificate("tls", policy(), **QUICKLY).result()
    vault.act("tls", "begin", "certificates")
    assert certificates.get_certificate_operation("tls").status == "inProgress"
    assert secrets.get_secret("tls").properties.version == first.properties.version
    assert [found.enabled for found in secrets.list_properties_of_secrets()] == [True]
    second = vault.set_certificate("tls", selfSigned={"host": "shop.test", "kind": "P-256"})
    renewed = secrets.get_secret("tls").properties
    assert (renewed.version, renewed.previous_version) == (second, first.properties.version)
    assert open_pfx(secrets.get_secret("tls", first.properties.version))[1] == x509.load_der_x509_certificate(first.cer)
    listed = [found.version for found in certificates.list_properties_of_certificate_versions("tls")]
    assert listed == sorted([first.properties.version, second])
    again = certificates.begin_create_certificate("tls", policy(), **QUICKLY).result()
    assert again.cer != first.cer


@pytest.mark.parametrize("password", [None, "hunter2"])
def test_an_imported_pfx_comes_out_without_password_and_leaf_first(certificates, secrets, password):
    chain = Chain()
    imported = certificates.import_certificate(
        "tls", chain.pfx((password or "").encode()), password=password, tags={"env": "prod"}
    )
    assert x509.load_der_x509_certificate(imported.cer) == chain.leaf
    assert (imported.policy.issuer_name, imported.policy.key_type, imported.policy.subject) == (
        "Unknown",
        "EC",
        "CN=shop.test",
    )
    secret = secrets.get_secret("tls")
    assert secret.properties.tags == imported.properties.tags == {"env": "prod"}
    private, leaf, others = open_pfx(secret)
    assert octets(private.public_key()) == octets(chain.key.public_key())
    assert leaf == chain.leaf
    assert set(others) == {chain.middle, chain.root}


def test_an_imported_pem_whose_root_came_first_is_served_leaf_first(certificates, secrets):
    chain = Chain()
    certificates.import_certificate("tls", chain.pem(), policy=CertificatePolicy(content_type=PEM))
    secret = secrets.get_secret("tls")
    assert secret.properties.content_type == "application/x-pem-file"
    assert x509.load_pem_x509_certificates(secret.value.encode())[0] == chain.leaf


@pytest.mark.parametrize(
    "key, kty, curve",
    [
        (ec.generate_private_key(ec.SECP521R1()), "EC", "P-521"),
        (ec.generate_private_key(ec.SECP256K1()), "EC", "P-256K"),
        (rsa.generate_private_key(65537, 2048), "RSA", None),
    ],
)
def test_keys_of_every_kind_are_imported(certificates, secrets, keys, key, kty, curve):
    chain = Chain(key)
    certificates.import_certificate("tls", chain.pfx())
    shown = keys.get_key("tls").key
    assert (shown.kty, shown.crv) == (kty, curve)
    assert octets(open_pfx(secrets.get_secret("tls"))[0].public_key()) == octets(key.public_key())


def test_what_is_no_certificate_is_refused(certificates):
    chain = Chain()
    traditional = chain.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    leaf = chain.leaf.public_bytes(serialization.Encoding.PEM)
    pem = CertificatePolicy(content_type=PEM)
    for content, options in (
        (b"no certificate", {}),
        (chain.pfx(b"hunter2"), {"password": "wrong"}),
        (chain.pem(), {}),
        (traditional + leaf, {"policy": pem}),
        (leaf, {"policy": pem}),
    ):
        with pytest.raises(HttpResponseError) as refused:
            certificates.import_certificate("tls", content, **options)
        assert (refused.value.status_code, refused.value.error.code) == (400, "BadParameter")
    for wrong in (policy(key_type="RSA", key_size=1024), CertificatePolicy(issuer_name="Nobody", subject="CN=x")):
        with pytest.raises(HttpResponseError) as refused:
            certificates.begin_create_certificate("tls", wrong)
        assert refused.value.error.code == "BadParameter"


@pytest.mark.parametrize("content_type", [PFX, PEM])
def test_a_key_that_is_not_exportable_is_not_in_the_secret(certificates, secrets, content_type):
    # Without a type the client leaves out that it is not exportable.
    wanted = policy(exportable=False, key_type="RSA", content_type=content_type)
    made = certificates.begin_create_certificate("tls", wanted, **QUICKLY).result()
    assert made.policy.exportable is False
    secret = secrets.get_secret("tls")
    if content_type == PEM:
        assert "PRIVATE KEY" not in secret.value
        found = x509.load_pem_x509_certificates(secret.value.encode())
    else:
        pfx = pkcs12.load_pkcs12(base64.b64decode(secret.value), None)
        assert pfx.key is None
        found = [one.certificate for one in pfx.additional_certs]
    assert found == [x509.load_der_x509_certificate(made.cer)]


def test_a_pfx_is_converted_to_pem_and_nothing_else_is_converted(vault, certificates, secrets):
    chain = Chain()
    certificates.import_certificate("tls", chain.pfx())
    secret = secrets.get_secret("tls", out_content_type="application/x-pem-file")
    assert secret.properties.content_type == "application/x-pem-file"
    assert secret.value.startswith("-----BEGIN CERTIFICATE-----\n"), "certificates come first"
    found = x509.load_pem_x509_certificates(secret.value.encode())
    assert found[0] == chain.leaf and set(found) == {chain.leaf, chain.middle, chain.root}
    key = serialization.load_pem_private_key(secret.value.encode(), None)
    assert octets(key.public_key()) == octets(chain.key.public_key())
    certificates.import_certificate("pem", chain.pem(), policy=CertificatePolicy(content_type=PEM))
    as_it_is = secrets.get_secret("pem")
    assert secrets.get_secret("pem", out_content_type="application/x-pem-file").value == as_it_is.value
    vault.set("text", "one", contentType="text/plain")
    for name, wanted in (
        ("pem", "application/x-pkcs12"),
        ("tls", "text/plain"),
        ("text", "application/x-pem-file"),
    ):
        with pytest.raises(HttpResponseError) as refused:
            secrets.get_secret(name, out_content_type=wanted)
        assert (refused.value.status_code, refused.value.error.code) == (400, "BadParameter")


def test_a_secret_or_key_of_a_certificate_is_changed_through_it_alone(certificates, secrets, keys):
    certificates.begin_create_certificate("tls", policy(), **QUICKLY).result()
    for change in (
        lambda: secrets.set_secret("tls", "one"),
        lambda: secrets.update_secret_properties("tls", enabled=False),
        lambda: secrets.begin_delete_secret("tls"),
    ):
        with pytest.raises(HttpResponseError) as refused:
            change()
        assert (refused.value.status_code, inner_code(refused.value)) == (403, "SecretManagedByKeyVault")
    for change in (lambda: keys.create_ec_key("tls"), lambda: keys.begin_delete_key("tls")):
        with pytest.raises(HttpResponseError) as refused:
            change()
        assert (refused.value.status_code, inner_code(refused.value)) == (403, "KeyManagedByKeyVault")


def test_an_update_shows_on_the_secret_too(certificates, secrets):
    made = certificates.begin_create_certificate("tls", policy(), **QUICKLY).result()
    version = made.properties.version
    updated = certificates.update_certificate_properties("tls", version, enabled=False, tags={"env": "prod"})
    assert (updated.properties.enabled, updated.properties.tags) == (False, {"env": "prod"})
    assert updated.cer == made.cer
    assert not certificates.get_certificate_version("tls", version).properties.enabled, "it may be looked at"
    with pytest.raises(HttpResponseError) as refused:
        secrets.get_secret("tls")
    assert inner_code(refused.value) == "SecretDisabled"
    assert [found.tags for found in secrets.list_properties_of_secrets()] == [{"env": "prod"}]
    certificates.update_certificate_properties("tls", enabled=True)
    assert secrets.get_secret("tls").properties.tags == {"env": "prod"}


def test_a_policy_is_read_and_updated(vault, certificates):
    certificates.begin_create_certificate("tls", policy(), **QUICKLY).result()
    read = certificates.get_certificate_policy("tls")
    assert (read.exportable, read.key_type, read.key_size, read.reuse_key) == (True, "RSA", 2048, False)
    assert (read.validity_in_months, read.content_type) == (12, "application/x-pkcs12")
    read._validity_in_months = 3
    assert certificates.update_certificate_policy("tls", read).validity_in_months == 3
    assert certificates.get_certificate_policy("tls").validity_in_months == 3
    with pytest.raises(ResourceNotFoundError):
        certificates.get_certificate_policy("nothing")


def test_a_version_shows_neither_policy_nor_pending_operation(certificates):
    made = certificates.begin_create_certificate("tls", policy(), **QUICKLY).result()
    assert made.policy
    version = certificates.get_certificate_version("tls", made.properties.version)
    assert (version.cer, version.policy) == (made.cer, None)
    with pytest.raises(ResourceNotFoundError) as missing:
        certificates.get_certificate_version("tls", "0" * 32)
    assert missing.value.error.code == "CertificateNotFound"


def test_a_list_of_sixty_certificates_comes_in_three_pages(vault, certificates, secrets):
    names = sorted(f"tls-{number:02}" for number in range(60))
    pem = Chain().pem().decode()
    for name in names:
        vault.set_certificate(name, pem=pem)
    for sparse, sizes in ((False, [25, 25, 10]), (True, [25, 0, 25, 0, 10])):
        vault.configure(sparsePages=sparse)
        pages = [[found.name for found in page] for page in certificates.list_properties_of_certificates().by_page()]
        assert [len(page) for page in pages] == sizes
        assert sum(pages, []) == names
    assert all(found.managed for found in secrets.list_properties_of_secrets())
    thumbprint = hashlib.sha1(certificates.get_certificate(names[0]).cer).digest()
    assert next(iter(certificates.list_properties_of_certificates())).x509_thumbprint == thumbprint


def test_a_certificate_is_deleted_recovered_and_purged_with_key_and_secret(vault, certificates, secrets, keys):
    made = certificates.begin_create_certificate("tls", policy(), **QUICKLY).result()
    poller = certificates.begin_delete_certificate("tls", **QUICKLY)
    deleted = poller.result()
    poller.wait()
    assert deleted.recovery_id == f"{vault.url}/deletedcertificates/tls"
    assert (deleted.scheduled_purge_date - deleted.deleted_on).days == 90
    looks = [request["status"] for request in vault.requests() if request["operation"] == "getDeleted"]
    assert looks == [404, 200]
    for read in (
        lambda: certificates.get_certificate("tls"),
        lambda: secrets.get_secret("tls"),
        lambda: keys.get_key("tls"),
    ):
        with pytest.raises(ResourceNotFoundError):
            read()
    assert [found.name for found in certificates.list_deleted_certificates()] == ["tls"]
    with pytest.raises(ResourceExistsError) as held:
        certificates.import_certificate("tls", Chain().pfx())
    assert inner_code(held.value) == "ObjectIsDeletedButRecoverable"
    certificates.begin_recover_deleted_certificate("tls", **QUICKLY).wait()
    assert certificates.get_certificate("tls").cer == made.cer
    vault.act("tls", "enable", "certificates")
    assert secrets.get_secret("tls").properties.version == made.properties.version
    certificates.begin_delete_certificate("tls", **QUICKLY).wait()
    certificates.purge_deleted_certificate("tls")
    with pytest.raises(ResourceNotFoundError):
        certificates.get_deleted_certificate("tls")
    assert list(secrets.list_deleted_secrets()) == list(keys.list_deleted_keys()) == []
    certificates.import_certificate("tls", Chain().pfx())


def test_a_right_on_certificates_is_none_on_secrets(vault, certificates, secrets):
    vault.set_certificate("tls", selfSigned={"host": "shop.test", "kind": "P-256"})
    vault.grant(certificates=["get", "list"])
    assert certificates.get_certificate("tls").cer
    with pytest.raises(HttpResponseError) as refused:
        secrets.get_secret("tls")
    assert inner_code(refused.value) == "ForbiddenByRbac"
    assert "'Microsoft.KeyVault/vaults/secrets/getSecret/action'" in refused.value.message
    for change, action in (
        (lambda: certificates.begin_create_certificate("new", policy()), "create/action"),
        (lambda: certificates.import_certificate("new", Chain().pfx()), "import/action"),
        (lambda: certificates.update_certificate_properties("tls", tags={}), "update/action"),
        (lambda: certificates.begin_delete_certificate("tls"), "delete"),
    ):
        with pytest.raises(HttpResponseError) as refused:
            change()
        assert f"'Microsoft.KeyVault/vaults/certificates/{action}'" in refused.value.message
    vault.grant(permissions=["get"])
    assert open_pfx(secrets.get_secret("tls"))
    vault.configure(accessModel="accessPolicy")
    with pytest.raises(HttpResponseError) as refused:
        certificates.get_certificate("tls")
    assert inner_code(refused.value) == "AccessDenied"
    assert "does not have certificates get permission" in refused.value.message


def test_a_fault_on_a_certificate_spares_its_secret(vault, certificates, secrets):
    vault.set_certificate("tls", selfSigned={"host": "shop.test", "kind": "P-256"})
    vault.fault("forbidden", code="ForbiddenByFirewall", certificate="tls")
    with pytest.raises(HttpResponseError) as refused:
        certificates.get_certificate("tls")
    assert inner_code(refused.value) == "ForbiddenByFirewall"
    assert secrets.get_secret("tls").value
    vault.fault("throttle", object="certificate", operation="list", times=2)
    assert [found.name for found in certificates.list_properties_of_certificates()] == ["tls"]
    statuses = [request["status"] for request in vault.requests() if request["operation"] == "list"]
    assert statuses[-3:] == [429, 429, 200]


def test_the_control_api_sets_what_a_test_wants(vault, certificates, secrets):
    chain = Chain()
    pfx = base64.b64encode(chain.pfx()).decode()
    vault.set_certificate("tls", pfx=pfx, tags={"env": "test"}, exp=1_900_000_000)
    secret = secrets.get_secret("tls")
    assert secret.value == pfx, "byte for byte"
    assert secret.properties.expires_on.timestamp() == 1_900_000_000
    vault.change("certificates", "tls", tags={"env": "prod"}, exp=1_800_000_000)
    assert secrets.get_secret("tls").properties.tags == {"env": "prod"}
    assert certificates.get_certificate("tls").properties.expires_on.timestamp() == 1_800_000_000
    vault.act("tls", "disable", "certificates")
    assert not certificates.get_certificate("tls").properties.enabled
    vault.act("tls", "enable", "certificates")
    vault.set_certificate("bare", pem=chain.pem().decode(), exportable=False)
    assert "PRIVATE KEY" not in secrets.get_secret("bare").value


@pytest.mark.parametrize("version", list(ApiVersion))
def test_every_api_version_the_client_knows_is_spoken(vault, credential, version):
    vault.set_certificate("tls", selfSigned={"host": "shop.test", "kind": "P-256"})
    with CertificateClient(vault.url, credential, api_version=version) as client:
        assert client.get_certificate("tls").name == "tls"
