"""The manifest: valid, every command resolves, every kind of slide has a reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from npe2 import PluginManifest

import napari_histosam

MANIFEST = Path(napari_histosam.__file__).with_name("napari.yaml")
FORMATS = [
    *("a.svs", "a.tif", "a.tiff", "a.ome.tif", "a.ome.tiff", "a.btf", "a.ndpi", "a.mrxs"),
    *("a.scn", "a.vms", "a.vmu", "a.bif", "a.svslide", "a.dcm", "a.png", "a.jpg", "a.jpeg"),
]


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(MANIFEST)


def test_the_installed_plugin_has_this_manifest(manifest: PluginManifest) -> None:
    from importlib.metadata import entry_points

    (point,) = [p for p in entry_points(group="napari.manifest") if p.name == "napari-histosam"]
    assert point.value == "napari_histosam:napari.yaml"
    assert manifest.name == "napari-histosam"
    assert PluginManifest.from_distribution("napari-histosam").contributions == (
        manifest.contributions
    )


def test_npe2_finds_nothing_wrong(manifest: PluginManifest) -> None:
    manifest.validate_imports()


def test_every_command_resolves(manifest: PluginManifest) -> None:
    from npe2.manifest.utils import import_python_name

    for command in manifest.contributions.commands:
        assert callable(import_python_name(command.python_name))


def test_every_command_is_reachable(manifest: PluginManifest) -> None:
    parts = manifest.contributions
    used = {
        one.command for one in (*parts.readers, *parts.writers, *parts.sample_data, *parts.widgets)
    }
    assert used == {command.id for command in parts.commands}
    for items in parts.menus.values():
        assert {item.command for item in items} <= used


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_every_kind_of_slide_has_our_reader(name: str, change: Any) -> None:
    from npe2 import PluginManager

    manager = PluginManager.instance()
    manager.discover()
    readers = manager.iter_compatible_readers(change(name))
    assert "napari-histosam" in [reader.plugin_name for reader in readers]


def test_widgets_are_imported_without_torch(manifest: PluginManifest) -> None:
    names = {command.id: command.python_name for command in manifest.contributions.commands}
    modules = {names[one.command].split(":")[0] for one in manifest.contributions.widgets}
    probe = f"import sys, {', '.join(sorted(modules))}; sys.exit('torch' in sys.modules)"
    assert len(modules) > 1
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


@pytest.mark.gui
def test_the_menu_opens_the_widget(viewer: Any, application: Any) -> None:
    dock, widget = viewer.window.add_plugin_dock_widget("napari-histosam", "Outline by clicks")
    application.processEvents()
    assert dock.isVisible()
    assert type(widget).__name__ == "InteractiveWidget"
