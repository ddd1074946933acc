"""Tags are the same in every container, and those that no longer hold are left behind."""

import pytest

from streamrestore.tags import COUNTS, OF_ENCODER, file_tags, language, lasting_stream_tags, stream_tags


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"title": "x"}, {"TITLE": "x"}),
        ({"name": "x"}, {"title": "x"}),
        ({"my tag": "x"}, {"MY_TAG": "x"}),
        ({"title-fra": "x"}, {"TITLE-fre": "x"}),
        ({"creation_time": "2020-01-02T03:04:05.5Z"}, {"creation_time": "2020-01-02T03:04:05.000000Z"}),
        ({"location": "+48.1+011.5/"}, {"location": "+48.1000+011.5000/"}),
        ({"handler_name": "a", "vendor_id": "b", "language": "deu"}, {}),
        ({"BPS-eng": "1", "DURATION": "2", "encoder": "me", "alpha_mode": "1"}, {}),
    ],
)
def test_what_is_said_in_other_words_is_the_same(one: dict[str, str], other: dict[str, str]) -> None:
    assert stream_tags(one) == stream_tags(other)


def test_what_describes_the_file_that_was_is_not_compared() -> None:
    assert file_tags({"major_brand": "isom", "encoder": "me", "title": "x"}) == {"title": "x"}


def test_a_language_has_one_code() -> None:
    assert language({"language": "ger"}) == language({"LANGUAGE": "deu"}) == "deu"
    assert language({}) == language({"language": ""}) == "und"
    assert language({"language": "en-US"}) == "en-US"


def test_quicktime_gets_the_code_it_knows() -> None:
    def written(code: str, container: str) -> str:
        return lasting_stream_tags({"language": code}, container)["language"]

    assert [written(code, "mov") for code in ("deu", "ger", "fre", "cze", "swe", "eng", "tlh")] == (
        ["ger", "ger", "fra", "ces", "sve", "eng", "tlh"]
    )
    assert written("deu", "mp4") == "deu"


def test_a_title_is_written_by_the_name_that_muxers_know() -> None:
    assert lasting_stream_tags({"name": "Main"}, "mp4") == {"title": "Main"}
    assert lasting_stream_tags({"name": "a", "title": "b"}, "mp4") == {"name": "a", "title": "b"}


def test_counts_of_packets_that_were_are_left_behind() -> None:
    tags = {"BPS": "1", "NUMBER_OF_FRAMES-eng": "2", "encoder": "me", "alpha_mode": "1", "title": "x"}
    assert lasting_stream_tags(tags, "matroska", stale=(*COUNTS, *OF_ENCODER)) == {"title": "x"}
    assert lasting_stream_tags(tags, "matroska") == tags
