"""The documentation lists the laws as they are, and every law can fail."""

from law_page import PAGE, SUITES, laws, listed, page_with


def test_the_page_lists_the_laws_as_they_are():
    assert page_with(listed()) == PAGE.read_text(), "run `python tests/laws/law_page.py`"


def test_there_are_at_least_forty_laws_to_inherit():
    assert sum(len(laws()[suite.__name__]) for suite in SUITES) >= 40


def test_no_two_laws_of_a_suite_say_the_same():
    for kind, statements in laws().items():
        said = [statement for _, statement in statements]
        assert len(set(said)) == len(said), kind
