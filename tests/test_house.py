"""The house keeps its own rules: import arrows, light imports, public names, a wheel that installs alone."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.structure import PACKAGES, structure

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {
    "redundancy": {"bounds", "vlm", "torch", "transformers"},
    "bounds": {"vlm", "torch", "transformers"},
    "vlm": set(),
}


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_import_arrows(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        crossed = imported(path) & FORBIDDEN[package]
        assert not crossed, f"{path.relative_to(ROOT)} imports {crossed}"


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_form_no_circle(package):
    found = structure(ROOT / package)
    assert found.rooms
    assert not found.circles


@pytest.mark.parametrize("package", PACKAGES)
def test_files_stand_in_rooms(package):
    assert structure(ROOT / package).beside <= 14
    for folder in (path for path in (ROOT / package).rglob("*") if path.is_dir() and any(path.glob("*.py"))):
        assert (folder / "__init__.py").is_file(), f"{folder.relative_to(ROOT)} has no sign"
        sign = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
        assert sign, f"{folder.relative_to(ROOT)}/__init__.py says nothing"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_hidden_by_a_public_name(package):
    for sign in (ROOT / package).rglob("__init__.py"):
        room = importlib.import_module(".".join(sign.parent.relative_to(ROOT).parts))
        for name in getattr(room, "__all__", ()):
            hidden = (sign.parent / f"{name}.py").exists() or (sign.parent / name / "__init__.py").exists()
            is_module = getattr(room, name).__class__.__name__ == "module"
            assert not hidden or is_module, f"{room.__name__}.{name} hides the module of the same name"


def test_the_structure_script_sees_a_circle(tmp_path):
    room = tmp_path / "house"
    for name, text in {"__init__": "", "a": "from house.b import x", "b": "from house import c", "c": ""}.items():
        room.mkdir(exist_ok=True)
        (room / f"{name}.py").write_text(text)
    straight = structure(room)
    assert (straight.floors, straight.arrows, straight.circles) == (3, {("a", "b"), ("b", "c")}, [])
    (room / "c.py").write_text("def f():\n    import house.a")
    assert structure(room).circles == [["a", "b", "c"]]


def test_nothing_evaluates_text_or_unpickles():
    pattern = re.compile(r"(?<![\w.])(eval|exec)\(|\bpickle\b|allow_pickle=True|joblib\.load|trust_remote_code=True")
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                assert not pattern.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


@pytest.mark.parametrize("package", PACKAGES)
def test_light_imports(package):
    heavy = ("torch", "transformers", "sympy", "matplotlib")
    code = f"import sys, {package}; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_sorted_importable_and_locked(package):
    module = importlib.import_module(package)
    locked = (ROOT / "tests" / "public_names" / f"{package}.txt").read_text().split()
    assert sorted(module.__all__) == locked, f"public names of {package} changed: edit tests/public_names/{package}.txt"
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("package", PACKAGES)
def test_public_functions_are_documented(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        if callable(value):
            assert value.__doc__, f"{package}.{name} has no docstring"


def test_no_private_paths_or_leftovers_are_committed():
    tracked = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True, cwd=ROOT)
    for name in filter(None, tracked.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".json"} and path.is_file() and path != Path(__file__):
            assert "/work/" not in path.read_text(encoding="utf-8"), name


def test_the_source_distribution_holds_the_packages_and_no_tests(tmp_path):
    command = [sys.executable, "-m", "build", "--sdist", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, capture_output=True, text=True, check=True)
    (archive,) = tmp_path.glob("skipit-*.tar.gz")
    with tarfile.open(archive) as file:
        tops = {name.split("/")[1] for name in file.getnames() if name.count("/") == 1}
        inner = [name.split("/", 1)[1] for name in file.getnames() if "/" in name]
    assert tops >= {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"}
    assert {name.split("/")[0] for name in inner} - tops == {"redundancy", "bounds", "vlm", "docs", "examples"}
    assert "docs/tutorials/embedded-model.md" in inner
    assert not [
        name for name in inner if name.startswith(("docs/_build", "docs/gallery", "docs/reference/api/generated"))
    ]
    assert "vlm/tiny/weights/plain/model.safetensors" in inner


def base_requirements(packages: Path) -> set[str]:
    """What the wheel installed there requires without extras, with what that requires in turn."""
    (installed,) = metadata.distributions(name="skipit", path=[str(packages)])
    found: set[str] = set()
    pending = [Requirement(text) for text in installed.requires or ()]
    while pending:
        requirement = pending.pop()
        if requirement.name not in found and (not requirement.marker or requirement.marker.evaluate({"extra": ""})):
            found.add(requirement.name)
            pending += [Requirement(text) for text in metadata.requires(requirement.name) or ()]
    return found


def link_distributions(names: set[str], packages: Path) -> None:
    """Put the distributions of this environment into another one, as if they were installed there."""
    for name in names:
        distribution = metadata.distribution(name)
        tops = {Path(file.parts[0]) for file in distribution.files or () if file.parts[0] not in {"..", "__pycache__"}}
        for top in tops:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution.locate_file(top))))


def test_models_run_without_inference_mode():
    """Weights packed in tensors of a class of their own (quanto's int4) fail in it: torch.no_grad() serves as well."""
    # The embedded models are trained and evaluated by their own recipe.
    files = [path for path in (ROOT / "vlm").rglob("*.py") if "tiny" not in path.parts]
    assert not [path for path in files if "inference_mode()" in path.read_text()]


def test_wheel_installs_without_extras_and_imports_from_elsewhere(tmp_path):
    def run(*command: str, cwd: Path = tmp_path, check: bool = True) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        out = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=clean, check=False)
        assert not check or out.returncode == 0, out.stderr[-3000:]
        return out

    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path / "dist"), str(ROOT))
    (wheel,) = (tmp_path / "dist").glob("skipit-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "clean"))
    python = str(tmp_path / "clean" / "bin" / "python")
    (packages,) = (tmp_path / "clean").glob("lib/*/site-packages")
    run(*pip, "install", "--no-deps", "--target", str(packages), str(wheel))
    required = base_requirements(packages)
    assert {"numpy", "scipy", "scikit-learn", "array-api-compat"} <= required
    assert not {"torch", "sympy", "transformers"} & required
    link_distributions(required, packages)
    code = (
        "import numpy as np, redundancy as rd, bounds, sys;"
        "e = rd.geometric(np.eye(3), np.eye(3));"
        "print(e.value, bounds.certify(e).high > 0, sorted({'torch', 'sympy'} & set(sys.modules)), rd.__file__)"
    )
    out = run(python, "-c", code).stdout
    assert out.startswith("0.0 True []")
    assert "clean" in out
    missing = run(python, "-c", "import vlm", check=False)
    assert missing.returncode == 1
    assert missing.stderr.strip().splitlines()[-1] == (
        "ImportError: vlm needs torch, transformers, lazy_loader: pip install 'skipit[vlm]'"
    )
    assert run(python, "-c", "import bounds; print(bounds.__version__)").stdout.strip() in wheel.name
    listing = run(python, "-m", "zipfile", "-l", str(wheel)).stdout
    for needed in (
        "redundancy/py.typed",
        "bounds/py.typed",
        "vlm/py.typed",
        "vlm/__init__.pyi",
        "model.safetensors",
        "published/late_entry.csv",
    ):
        assert needed in listing
