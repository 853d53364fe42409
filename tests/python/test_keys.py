"""Keys and their public parts, as the official client sees them."""

import json
import os
import pathlib
from datetime import datetime, timezone

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.keys import ApiVersion, JsonWebKey, KeyClient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

QUICKLY = {"_polling_interval": 0.01}

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "keys"

# The kinds of the control API, by the name of their golden files.
KINDS = {
    "rsa-2048": "RSA-2048",
    "rsa-3072": "RSA-3072",
    "ec-p256": "P-256",
    "ec-p384": "P-384",
    "ec-p521": "P-521",
    "ec-p256k": "P-256K",
}

CURVES = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1, "P-256K": ec.SECP256K1}


def inner_code(error: HttpResponseError) -> str:
    return error.error.innererror["code"]


def public_key(jwk):
    """The key as the cryptography library has it; it refuses a point that is not on its curve."""
    number = lambda field: int.from_bytes(field, "big")
    if jwk.kty.startswith("RSA"):
        return rsa.RSAPublicNumbers(number(jwk.e), number(jwk.n)).public_key()
    return ec.EllipticCurvePublicNumbers(number(jwk.x), number(jwk.y), CURVES[jwk.crv]()).public_key()


def info_pem(key) -> str:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


@pytest.mark.parametrize("size", [2048, 3072, 4096])
def test_an_rsa_key_has_the_size_asked_for(keys, size):
    made = keys.create_rsa_key("sign", size=size)
    read = keys.get_key("sign")
    assert read.id == made.id == read.key.kid
    assert (read.key_type, read.key.e, len(read.key.n) * 8) == ("RSA", b"\x01\x00\x01", size)
    assert public_key(read.key).key_size == size
    assert read.key_operations == ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"]
    assert read.key.d is None


@pytest.mark.parametrize("curve, width", [("P-256", 32), ("P-384", 48), ("P-521", 66), ("P-256K", 32)])
def test_a_curve_key_lies_on_its_curve_and_has_its_width(keys, curve, width):
    keys.create_ec_key("sign", curve=curve)
    jwk = keys.get_key("sign").key
    assert (jwk.kty, jwk.crv, len(jwk.x), len(jwk.y)) == ("EC", curve, width, width)
    public_key(jwk)


def test_a_key_of_an_hsm_says_so(keys):
    assert keys.create_rsa_key("r", hardware_protected=True).key_type == "RSA-HSM"
    assert keys.create_ec_key("e", hardware_protected=True).key_type == "EC-HSM"


def test_what_cannot_be_made_is_refused(keys):
    for wanted in ({"key_type": "RSA", "size": 1024}, {"key_type": "oct"}, {"key_type": "EC", "curve": "P-192"}):
        with pytest.raises(HttpResponseError) as refused:
            keys.create_key("sign", **wanted)
        assert (refused.value.status_code, refused.value.error.code) == (400, "BadParameter")
    with pytest.raises(HttpResponseError):
        keys.create_rsa_key("a_b")


def test_an_imported_key_shows_its_public_part_alone(keys):
    private = rsa.generate_private_key(65537, 2048)
    numbers = private.private_numbers()
    octets = lambda number: number.to_bytes((number.bit_length() + 7) // 8, "big")
    public = numbers.public_numbers
    jwk = JsonWebKey(
        kty="RSA",
        key_ops=["sign"],
        n=b"\x00" + octets(public.n),
        e=octets(public.e),
        d=octets(numbers.d),
        p=octets(numbers.p),
        q=octets(numbers.q),
        dp=octets(numbers.dmp1),
        dq=octets(numbers.dmq1),
        qi=octets(numbers.iqmp),
    )
    keys.import_key("sign", jwk, tags={"env": "prod"})
    read = keys.get_key("sign")
    assert public_key(read.key).public_numbers() == public
    assert read.key.n == octets(public.n), "without the leading zero"
    assert (read.key.d, read.key_operations, read.properties.tags) == (None, ["sign"], {"env": "prod"})


def test_tags_dates_and_operations_are_updated_and_the_rest_stays(keys):
    expires = datetime(2031, 5, 17, tzinfo=timezone.utc)
    version = keys.create_rsa_key("sign", tags={"env": "prod"}).properties.version
    updated = keys.update_key_properties("sign", expires_on=expires, key_operations=["verify"])
    assert (updated.properties.version, updated.properties.expires_on) == (version, expires)
    assert (updated.properties.tags, updated.key_operations) == ({"env": "prod"}, ["verify"])
    assert updated.properties.recovery_level == "Recoverable+Purgeable"


def test_a_disabled_key_may_be_looked_at(keys):
    keys.create_ec_key("sign", enabled=False)
    assert not keys.get_key("sign").properties.enabled
    assert [found.enabled for found in keys.list_properties_of_keys()] == [False]


def test_an_old_version_stays_readable_and_versions_are_listed_by_id(keys):
    made = [keys.create_ec_key("sign") for _ in range(30)]
    versions = [key.properties.version for key in made]
    assert keys.get_key("SIGN").properties.version == versions[-1]
    assert keys.get_key("sign", versions[0]).key.x == made[0].key.x
    assert made[0].key.x != made[1].key.x
    assert [found.version for found in keys.list_properties_of_key_versions("sign")] == sorted(versions)
    with pytest.raises(ResourceNotFoundError):
        keys.get_key("sign", "0" * 32)


def test_a_list_of_sixty_keys_comes_in_three_pages(vault, keys):
    names = sorted(f"key-{number:02}" for number in range(60))
    for name in names:
        vault.set_key(name, "P-256")
    pages = [[found.name for found in page] for page in keys.list_properties_of_keys().by_page()]
    assert [len(page) for page in pages] == [25, 25, 10]
    assert sum(pages, []) == names
    vault.configure(sparsePages=True)
    assert [len(list(page)) for page in keys.list_properties_of_keys().by_page()] == [25, 0, 25, 0, 10]


def test_a_missing_key_is_not_found(keys):
    with pytest.raises(ResourceNotFoundError) as missing:
        keys.get_key("nothing")
    assert missing.value.error.code == "KeyNotFound"


def test_a_deleted_key_holds_its_name_until_it_is_recovered_or_purged(vault, keys):
    first = keys.create_ec_key("sign").properties.version
    poller = keys.begin_delete_key("sign", **QUICKLY)
    deleted = poller.result()
    poller.wait()
    assert deleted.recovery_id == f"{vault.url}/deletedkeys/sign"
    assert (deleted.scheduled_purge_date - deleted.deleted_date).days == 90
    assert keys.get_deleted_key("sign").name == "sign"
    assert [found.name for found in keys.list_deleted_keys()] == ["sign"]
    with pytest.raises(ResourceNotFoundError):
        keys.get_key("sign")
    with pytest.raises(ResourceExistsError) as held:
        keys.create_ec_key("sign")
    assert inner_code(held.value) == "ObjectIsDeletedButRecoverable"
    keys.begin_recover_deleted_key("sign", **QUICKLY).wait()
    assert keys.get_key("sign").properties.version == first
    keys.begin_delete_key("sign", **QUICKLY).wait()
    keys.purge_deleted_key("sign")
    assert keys.create_ec_key("sign").properties.version != first


def test_the_deletion_of_a_key_takes_a_moment_to_show(vault, keys):
    keys.create_ec_key("sign")
    keys.begin_delete_key("sign", **QUICKLY).wait()
    looks = [request["status"] for request in vault.requests() if request["operation"] == "getDeleted"]
    assert looks == [404, 200]


def test_a_right_on_secrets_is_none_on_keys(vault, keys, secrets):
    vault.set("db", "one")
    vault.set_key("sign", "P-256")
    vault.grant(permissions=["get", "list"])
    assert secrets.get_secret("db").value == "one"
    with pytest.raises(HttpResponseError) as refused:
        keys.get_key("sign")
    assert (refused.value.status_code, inner_code(refused.value)) == (403, "ForbiddenByRbac")
    assert "'Microsoft.KeyVault/vaults/keys/read'" in refused.value.message
    assert f"/vaults/{vault.name}/keys/sign'" in refused.value.message
    vault.configure(accessModel="accessPolicy")
    with pytest.raises(HttpResponseError) as refused:
        list(keys.list_properties_of_keys())
    assert inner_code(refused.value) == "AccessDenied"
    assert "does not have keys list permission" in refused.value.message
    vault.grant(keys=["get"])
    assert keys.get_key("sign").name == "sign"
    with pytest.raises(HttpResponseError) as refused:
        secrets.get_secret("db")
    assert inner_code(refused.value) == "AccessDenied"


def test_a_fault_on_a_key_spares_the_secret_of_that_name(vault, keys, secrets):
    vault.set("db", "one")
    vault.set_key("db", "P-256")
    vault.fault("notFound", key="db")
    assert secrets.get_secret("db").value == "one"
    with pytest.raises(ResourceNotFoundError) as missing:
        keys.get_key("db")
    assert missing.value.error.code == "KeyNotFound"
    logged = [request for request in vault.requests() if request["clientId"]]
    assert [(request["object"], request["name"], request["secret"]) for request in logged] == [
        ("secret", "db", "db"),
        ("key", "db", None),
    ]


@pytest.mark.parametrize("version", list(ApiVersion))
def test_every_api_version_the_client_knows_is_spoken(vault, credential, version):
    vault.set_key("sign", "P-256")
    with KeyClient(vault.url, credential, api_version=version) as client:
        assert client.get_key("sign").name == "sign"


@pytest.mark.parametrize("name", KINDS)
def test_the_golden_files_are_what_the_service_and_the_library_say(vault, keys, name):
    """The JSON web key of each kind and its PEM: what a client makes of the one must be the other.

    RECORD_GOLDEN=1 writes them anew.
    """
    vault.set_key("sign", KINDS[name])
    answer = keys.send_request(_get(f"{vault.url}/keys/sign?api-version=7.4"))
    answer.raise_for_status()
    jwk = answer.json()["key"]
    del jwk["kid"]
    text = json.dumps(jwk, indent=2) + "\n"
    pem = info_pem(public_key(keys.get_key("sign").key))
    assert "\r" not in pem and max(map(len, pem.splitlines())) == 64
    for file, content in ((GOLDEN / f"{name}.json", text), (GOLDEN / f"{name}.pem", pem)):
        if os.environ.get("RECORD_GOLDEN"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(content)
        assert file.read_text() == content


def _get(url: str):
    from azure.core.rest import HttpRequest

    return HttpRequest("GET", url)

