import pytest

from tta_core.errors import LoadError, UnknownNameError
from tta_core.plugins.registry import Entry, Registry


def registry(*names, plugin="lab 1.0"):
    made = Registry()
    for name in names:
        made.add(Entry("rewards", name, "json:dumps", "", (), plugin))
    return made


def test_a_similar_name_is_suggested():
    with pytest.raises(UnknownNameError, match=r"No reward is called 'sharpnes'\. Did you mean 'sharpness'\?"):
        registry("sharpness", "jpeg").find("rewards", "sharpnes")


def test_without_a_similar_name_all_names_are_listed():
    with pytest.raises(UnknownNameError, match="Known: jpeg, sharpness"):
        registry("sharpness", "jpeg").find("rewards", "xyz")


def test_kinds_are_separate():
    with pytest.raises(UnknownNameError, match="Known: none"):
        registry("sharpness").find("methods", "sharpness")


def test_two_plugins_with_one_name_make_it_unusable():
    made = registry("sharpness")
    made.add(Entry("rewards", "sharpness", "json:loads", "", (), "rival 2.0"))
    with pytest.raises(LoadError, match=r"lab 1\.0 and rival 2\.0.*TTA_PLUGINS_BLOCK"):
        made.find("rewards", "sharpness")
    assert len(made.collisions) == 1
    assert [entry.name for entry in made.entries("rewards")] == ["sharpness"]


def test_a_name_is_imported_when_it_is_used_and_not_before():
    made = Registry()
    made.add(Entry("rewards", "broken", "no_such_module_at_all:Thing", "", (), "lab 1.0"))
    entry = made.find("rewards", "broken")
    with pytest.raises(LoadError, match=r"'broken' of lab 1\.0.*no_such_module_at_all.*tta doctor"):
        entry.load()


def test_a_missing_attribute_is_a_load_error():
    with pytest.raises(LoadError, match="AttributeError"):
        Entry("rewards", "x", "json:no_such_thing", "", (), "lab").load()


def test_classes_are_constructed_and_functions_are_themselves():
    made = registry("dumps")
    made.add(Entry("rewards", "list", list, "", (), "lab"))
    assert made.create("rewards", "list") == []
    assert made.create("rewards", "dumps") is __import__("json").dumps


def test_entries_are_sorted():
    assert [entry.name for entry in registry("b", "c", "a").entries("rewards")] == ["a", "b", "c"]


def test_a_class_that_cannot_be_built_with_defaults_names_its_plugin():
    made = Registry()
    made.add(Entry("methods", "needy", lambda value: value, "", (), "lab 1.0"))
    with pytest.raises(LoadError, match=r"'needy' of lab 1\.0 could not be made with its defaults: .*'value'"):
        made.create("methods", "needy")
