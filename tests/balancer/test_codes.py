"""What may be loaded, and that it is what passed."""

from __future__ import annotations

import pytest
from ringmaster_balancer import codes
from ringmaster_balancer.ring import checks, custom

HASH = "def f(key: bytes) -> int:\n    return {value}\n"


def allowed(folder=None, *modules):
    return codes.Allowed(folder=folder, modules=modules)


def test_a_file_of_the_folder_is_found_with_a_digest_of_its_content(tmp_path):
    (tmp_path / "mine.py").write_text(HASH.format(value=1))
    source, digest = codes.find("mine:f", allowed(tmp_path))
    assert source == HASH.format(value=1)
    (tmp_path / "mine.py").write_text(HASH.format(value=2))
    assert codes.find("mine:f", allowed(tmp_path))[1] != digest


def test_only_modules_that_the_administrator_named_are_found():
    source, digest = codes.find("zlib:crc32", allowed(None, "zlib"))
    assert (source, len(digest)) == (None, 64)
    for reference in ("os:system", "zlib.x:crc32"):
        with pytest.raises(codes.CodeError, match="none of the modules"):
            codes.find(reference, allowed(None, "zlib"))


@pytest.mark.parametrize(
    ("reference", "folder", "said"),
    [
        ("mine:f", False, "without --hash-path"),
        ("mine:f", True, "no mine.py in"),
        ("xxh3", True, "is not module:name"),
        ("a.b:f", True, "none of the modules"),
        ("long:f", True, "longer than"),
        ("binary:f", True, "cannot be read"),
    ],
)
def test_what_cannot_be_found_is_said_with_what_to_do(tmp_path, reference, folder, said):
    (tmp_path / "long.py").write_text("#" * 300_000)
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe")
    with pytest.raises(codes.CodeError, match=said):
        codes.find(reference, allowed(tmp_path if folder else None))


def test_a_module_that_is_not_installed_is_said():
    with pytest.raises(codes.CodeError, match="not installed"):
        codes.find("no_such_module_here:f", allowed(None, "no_such_module_here"))


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("def f(key): return 1", custom.Kind.KEY),
        ("def f(key: bytes, seed=7) -> int: return 1", custom.Kind.KEY),
        ("def f(request: int) -> int: return 1", custom.Kind.REQUEST),
        ("from __future__ import annotations\ndef f(i: int): return 1", custom.Kind.REQUEST),
        ("def f(members, slots): return []", custom.Kind.FILL),
        ("class F:\n  def __call__(self, key): return 1\nf = F()", custom.Kind.KEY),
        ("from zlib import crc32 as f", custom.Kind.KEY),
    ],
)
def test_the_signature_says_what_a_function_is_for(source, kind):
    assert codes.function("m:f", source)[1] is kind


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def g(key): return 1", "no function 'f'"),
        ("f = 4", "no function 'f'"),
        ("def f(:", "SyntaxError"),
        ("import no_such_module_here", "ModuleNotFoundError"),
        ("1 // 0", "ZeroDivisionError"),
        ("def f(a, b, c): return 1", "takes 3 values"),
    ],
)
def test_code_without_a_usable_function_says_why(source, said):
    with pytest.raises(codes.CodeError, match=said):
        codes.function("m:f", source)


def passed(source, **fields):
    code = custom.Code(reference="m:f", source=source, digest="d", kind=custom.Kind.KEY, **fields)
    own = custom.Custom(code=code, function=codes.function("m:f", source)[0])
    return custom.Code(**{**_fields(code), "golden": tuple(checks.values(own))})


def _fields(code):
    return {name: getattr(code, name) for name in code.__dataclass_fields__}


def test_what_gives_the_values_of_its_trial_is_loaded():
    code = passed("import hashlib\ndef f(key): return hashlib.md5(key).digest()[0]")
    assert codes.load(code).function(b"a") == 0x0C


def test_what_gives_other_values_here_is_not():
    code = passed(HASH.format(value=1))
    with pytest.raises(codes.CodeError, match="differs from its trial"):
        codes.load(custom.Code(**{**_fields(code), "source": HASH.format(value=2)}))
    with pytest.raises(codes.CodeError, match="fails here"):
        codes.load(custom.Code(**{**_fields(code), "source": HASH.format(value="1 // 0")}))
