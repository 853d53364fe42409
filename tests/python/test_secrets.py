"""Secrets, versions, pages and soft delete, as the official client sees them."""

from datetime import datetime, timezone

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

# The client's own option; its default of two seconds would be most of this suite's time.
QUICKLY = {"_polling_interval": 0.01}


def inner_code(error: HttpResponseError) -> str:
    return error.error.innererror["code"]


def test_what_is_set_is_read(secrets):
    expires = datetime(2031, 5, 17, tzinfo=timezone.utc)
    not_before = datetime(2021, 5, 17, tzinfo=timezone.utc)
    written = secrets.set_secret(
        "db-url",
        "postgres://shop",
        tags={"env": "prod"},
        content_type="text/plain",
        expires_on=expires,
        not_before=not_before,
    )
    read = secrets.get_secret("db-url")
    assert read.value == "postgres://shop"
    assert read.id == written.id
    assert read.properties.version == written.properties.version
    assert len(read.properties.version) == 32
    assert read.properties.tags == {"env": "prod"}
    assert read.properties.content_type == "text/plain"
    assert read.properties.expires_on == expires
    assert read.properties.not_before == not_before
    assert read.properties.enabled
    assert read.properties.created_on.microsecond == 0
    assert read.properties.recovery_level == "Recoverable+Purgeable"
    assert read.properties.recoverable_days == 90


def test_names_are_one_whatever_their_case(secrets):
    secrets.set_secret("Db-Url", "one")
    assert secrets.get_secret("DB-URL").value == "one"
    assert [found.name for found in secrets.list_properties_of_secrets()] == ["Db-Url"]


def test_an_old_version_stays_readable(secrets):
    versions = [secrets.set_secret("db", str(number)).properties.version for number in range(4)]
    assert secrets.get_secret("db").value == "3"
    assert [secrets.get_secret("db", version).value for version in versions] == ["0", "1", "2", "3"]
    with pytest.raises(ResourceNotFoundError):
        secrets.get_secret("db", "0" * 32)


def test_versions_are_listed_by_id_and_across_pages(secrets):
    made = [secrets.set_secret("db", str(number)).properties.version for number in range(30)]
    listed = [found.version for found in secrets.list_properties_of_secret_versions("db")]
    assert listed == sorted(made)


def test_a_list_of_sixty_secrets_comes_in_three_pages(vault, secrets):
    names = sorted(f"secret-{number:02}" for number in range(60))
    for name in reversed(names):
        vault.set(name, "value")
    pages = [[found.name for found in page] for page in secrets.list_properties_of_secrets().by_page()]
    assert [len(page) for page in pages] == [25, 25, 10]
    assert sum(pages, []) == names
    assert len([request for request in vault.requests() if request["status"] == 200]) == 3


def test_a_smaller_page_size_is_kept(vault, secrets):
    for number in range(5):
        vault.set(f"secret-{number}", "value")
    pages = secrets.list_properties_of_secrets(max_page_size=2).by_page()
    assert [len(list(page)) for page in pages] == [2, 2, 1]


def test_a_page_size_out_of_range_is_refused(secrets):
    with pytest.raises(HttpResponseError) as refused:
        list(secrets.list_properties_of_secrets(max_page_size=26))
    assert (refused.value.status_code, refused.value.error.code) == (400, "BadParameter")


def test_empty_pages_in_between_lose_nothing(vault, secrets):
    vault.configure(sparsePages=True)
    for number in range(60):
        vault.set(f"secret-{number:02}", "value")
    pages = [list(page) for page in secrets.list_properties_of_secrets().by_page()]
    assert [len(page) for page in pages] == [25, 0, 25, 0, 10]


def test_a_disabled_secret_is_listed_but_not_read(secrets):
    secrets.set_secret("db", "one")
    updated = secrets.update_secret_properties("db", enabled=False)
    assert not updated.enabled
    with pytest.raises(HttpResponseError) as refused:
        secrets.get_secret("db")
    assert refused.value.status_code == 403
    assert inner_code(refused.value) == "SecretDisabled"
    assert [found.enabled for found in secrets.list_properties_of_secrets()] == [False]
    secrets.update_secret_properties("db", enabled=True)
    assert secrets.get_secret("db").value == "one"


def test_an_update_changes_what_it_names_and_nothing_else(control, vault, secrets):
    version = secrets.set_secret("db", "one", tags={"env": "prod"}, content_type="text/plain").properties.version
    control.call("PUT", "/clock", {"offsetSeconds": 100})
    try:
        updated = secrets.update_secret_properties("db", version, tags={"env": "test"})
    finally:
        control.call("PUT", "/clock", {"offsetSeconds": 0})
    assert updated.tags == {"env": "test"}
    assert updated.content_type == "text/plain"
    assert (updated.updated_on - updated.created_on).total_seconds() >= 100
    assert secrets.get_secret("db").properties.version == version


def test_a_missing_secret_is_not_found(secrets):
    with pytest.raises(ResourceNotFoundError) as missing:
        secrets.get_secret("nothing")
    assert missing.value.error.code == "SecretNotFound"


def test_a_deleted_secret_is_gone_listed_and_holds_its_name(vault, secrets):
    secrets.set_secret("db", "one")
    poller = secrets.begin_delete_secret("db", **QUICKLY)
    deleted = poller.result()
    assert deleted.recovery_id == f"{vault.url}/deletedsecrets/db"
    assert (deleted.scheduled_purge_date - deleted.deleted_date).days == 90
    poller.wait()
    # The deletion takes a moment to show: the client had to look more than once.
    looks = [request["status"] for request in vault.requests() if request["operation"] == "getDeleted"]
    assert looks == [404, 200]
    with pytest.raises(ResourceNotFoundError):
        secrets.get_secret("db")
    assert secrets.get_deleted_secret("db").name == "db"
    assert [found.name for found in secrets.list_deleted_secrets()] == ["db"]
    assert list(secrets.list_properties_of_secrets()) == []
    with pytest.raises(ResourceExistsError) as held:
        secrets.set_secret("db", "two")
    assert inner_code(held.value) == "ObjectIsDeletedButRecoverable"


def test_a_deleted_secret_is_recovered_with_its_versions(vault, secrets):
    versions = [secrets.set_secret("db", value).properties.version for value in ("one", "two")]
    secrets.begin_delete_secret("db", **QUICKLY).wait()
    secrets.begin_recover_deleted_secret("db", **QUICKLY).wait()
    assert secrets.get_secret("db").value == "two"
    assert secrets.get_secret("db", versions[0]).value == "one"
    assert list(secrets.list_deleted_secrets()) == []


def test_a_purged_secret_frees_its_name(secrets):
    first = secrets.set_secret("db", "one").properties.version
    secrets.begin_delete_secret("db", **QUICKLY).wait()
    secrets.purge_deleted_secret("db")
    with pytest.raises(ResourceNotFoundError):
        secrets.get_deleted_secret("db")
    assert secrets.set_secret("db", "two").properties.version != first


def test_a_rollback_shows_the_version_before(vault, secrets):
    first = secrets.set_secret("db", "one").properties.version
    secrets.set_secret("db", "two")
    vault.act("db", "rollback")
    assert secrets.get_secret("db").properties.version == first


def test_a_secret_of_a_certificate_is_managed(vault, secrets):
    version = vault.set("tls", "pem", managed=True, contentType="application/x-pem-file")
    read = secrets.get_secret("tls").properties
    assert read.managed
    assert read.key_id == f"{vault.url}/keys/tls/{version}"
    assert [found.managed for found in secrets.list_properties_of_secrets()] == [True]


def test_a_bad_name_or_value_is_a_bad_parameter(secrets):
    for name, value in (("a_b", "one"), ("db", "x" * (25 * 1024 + 1))):
        with pytest.raises(HttpResponseError) as refused:
            secrets.set_secret(name, value)
        assert (refused.value.status_code, refused.value.error.code) == (400, "BadParameter")
    secrets.set_secret("db", "x" * 25 * 1024)
