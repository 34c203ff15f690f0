"""Sealing: only the keys of the settings open, and nothing shows what is inside."""

import pytest
from django.conf import LazySettings

from catalog.secrets import (
    LostSecretError,
    NoSecretKeyError,
    Secret,
    make_secret_key,
    malformed_keys,
    seal,
    sealed_with_first_key,
    unseal,
)

OLD, NEW = make_secret_key(), make_secret_key()


def test_what_is_sealed_opens_and_looks_like_nothing() -> None:
    sealed = seal(Secret("sk-of-the-provider"))
    assert "provider" not in sealed
    assert unseal(sealed) == Secret("sk-of-the-provider")
    assert seal(Secret("sk-of-the-provider")) != sealed


def test_a_secret_shows_itself_in_no_repr_and_no_text() -> None:
    secret = Secret("sk-of-the-provider")
    assert "sk-of" not in f"{secret!r} {secret} {[secret]}"


def test_every_key_opens_and_the_first_seals(settings: LazySettings) -> None:
    settings.SECRET_KEYS = (OLD,)
    sealed = seal(Secret("x"))
    settings.SECRET_KEYS = (NEW, OLD)
    assert unseal(sealed).text == "x"
    assert not sealed_with_first_key(sealed)
    assert sealed_with_first_key(seal(Secret("x")))


@pytest.mark.parametrize("keys", [(NEW,), (), ("malformed",)])
def test_without_its_key_a_secret_is_lost(settings: LazySettings, keys: tuple[str, ...]) -> None:
    settings.SECRET_KEYS = (OLD,)
    sealed = seal(Secret("x"))
    settings.SECRET_KEYS = keys
    assert not sealed_with_first_key(sealed)
    with pytest.raises(LostSecretError, match="no key of BUDGETGATE_SECRET_KEYS opens it"):
        unseal(sealed)


@pytest.mark.parametrize("sealed", ["", "x", "gAAAAA", "ü"])
def test_what_was_never_sealed_is_lost_too(sealed: str) -> None:
    with pytest.raises(LostSecretError):
        unseal(sealed)


def test_without_a_key_nothing_is_sealed(settings: LazySettings) -> None:
    settings.SECRET_KEYS = ()
    with pytest.raises(NoSecretKeyError, match="BUDGETGATE_SECRET_KEYS is empty"):
        seal(Secret("x"))


def test_malformed_keys_are_found_by_their_place() -> None:
    assert malformed_keys(()) == []
    assert malformed_keys((OLD, "short", NEW, "ü" * 44, OLD[:-2])) == [2, 4, 5]
