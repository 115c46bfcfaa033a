"""What the page keeps of visitors, and for how long."""

import pytest


def test_files_go_when_their_visitor_does(sessions, tmp_path):
    upload = tmp_path / "photo.jpg"
    upload.write_bytes(b"photo")
    sessions.keep_until_left("anna", upload)
    folder = sessions.new_folder("anna")
    (folder / "table.csv").write_text("table")
    other = sessions.new_folder("berta")

    sessions.leave("anna")
    assert not upload.exists() and not folder.exists() and other.exists()


def test_a_file_of_two_visitors_stays_until_both_are_gone(sessions, tmp_path):
    upload = tmp_path / "photo.jpg"
    upload.write_bytes(b"photo")
    sessions.keep_until_left("anna", upload)
    sessions.keep_until_left("berta", upload)

    sessions.leave("anna")
    assert upload.exists()
    sessions.leave("berta")
    assert not upload.exists()


def test_a_video_is_stopped_by_its_visitor_only(sessions):
    with sessions.running_video("anna") as stop, sessions.running_video("berta") as other:
        sessions.stop_video("anna")
        assert stop.is_set() and not other.is_set()
    # Nothing runs any more.
    sessions.stop_video("berta")
    assert not other.is_set()


@pytest.mark.parametrize("ending", [lambda sessions: sessions.leave("anna"), lambda sessions: sessions.close()])
def test_a_video_stops_when_its_visitor_leaves_or_the_server_ends(sessions, ending):
    with sessions.running_video("anna") as stop:
        ending(sessions)
        assert stop.is_set()


def test_a_second_video_replaces_the_first(sessions):
    with sessions.running_video("anna") as first, sessions.running_video("anna") as second:
        assert first.is_set() and not second.is_set()
        sessions.stop_video("anna")
        assert second.is_set()


def test_no_video_begins_when_the_server_has_ended(sessions):
    sessions.close()
    with sessions.running_video("anna") as stop:
        assert stop.is_set()
