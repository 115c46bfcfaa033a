"""The page in a browser, with real uploads."""

import time

import pandas as pd
import pytest
from PIL import Image

from hiva_hf.inference.tables import read_table
from hiva_hf.web import build_demo


LABELS = ["AU1", "AU4", "AU12", "AU25"]


def upload_photo(visitor, path) -> None:
    """Gives the page a photo, after taking away one that is there, and waits for what it says."""
    page = visitor.page
    page.get_by_role("tab", name="Photo").click()
    if page.locator("#hiva-photo-input img").count():
        page.get_by_role("button", name="Remove Image").click()
        page.locator(".hiva-notice:visible").wait_for(state="detached")
    page.locator("#hiva-photo-input input[type=file]").first.set_input_files(path)
    page.locator(".hiva-notice:visible").wait_for()


def upload_video(visitor, path) -> None:
    page = visitor.page
    page.get_by_role("tab", name="Video").click()
    if page.locator("#hiva-video video").count():
        page.get_by_role("button", name="Clear").click()
    page.locator("#hiva-video input[type=file]").first.set_input_files(path)
    page.locator("#hiva-video video").wait_for(state="attached")
    page.locator(".hiva-notice:visible").wait_for(state="detached")
    page.get_by_role("button", name="Read the video").click()


def download(visitor, label, folder):
    with visitor.page.expect_download() as waiting:
        visitor.page.get_by_role("button", name=label).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


@pytest.fixture(scope="module")
def desktop(visit):
    visitor = visit()
    yield visitor
    visitor.page.context.close()


@pytest.fixture(scope="module")
def phone(visit):
    visitor = visit(width=390, height=844, color_scheme="dark")
    yield visitor
    visitor.page.context.close()


def test_a_photo_gives_a_bar_for_each_au_and_the_maps_of_one(desktop, uploads):
    upload_photo(desktop, uploads["face"])
    page = desktop.page
    assert desktop.notice == "1 face was found."
    bars = page.locator("[data-au]:visible")
    assert bars.evaluate_all("bars => bars.map(bar => bar.dataset.au)") == LABELS
    text = page.locator("[data-au=AU12]:visible").inner_text()
    assert "AU12 Lip Corner Puller" in text and "%" in text and "pulls the lip corners" in text
    assert page.locator("[data-au][aria-pressed=true]:visible").count() == 1
    assert page.locator(".hiva-maps:visible img").count() == 2
    # Nothing to choose.
    assert not page.get_by_role("radio").first.is_visible()


def test_a_bar_can_be_chosen_with_the_keyboard(desktop, uploads):
    upload_photo(desktop, uploads["face"])
    page = desktop.page
    before = page.locator(".hiva-maps:visible img").first.get_attribute("src")
    chosen = page.locator("[data-au][aria-pressed=true]:visible").get_attribute("data-au")
    other = next(label for label in LABELS if label != chosen)
    page.locator(f"[data-au={other}]:visible").focus()
    page.keyboard.press("Enter")
    page.locator(".hiva-au-title:visible", has_text=f"{other} ").wait_for()
    assert page.locator("[data-au][aria-pressed=true]:visible").get_attribute("data-au") == other
    assert page.evaluate("document.activeElement.dataset.au") == other
    assert page.locator(".hiva-maps:visible img").first.get_attribute("src") != before
    assert page.locator(".hiva-card:visible").get_by_text("Muscles").is_visible()


def test_each_of_several_faces_can_be_chosen(desktop, uploads):
    upload_photo(desktop, uploads["two_faces"])
    page = desktop.page
    assert desktop.notice.startswith("2 faces were found.")
    bars = page.locator(".hiva-bars:visible")
    first, maps = bars.inner_text(), page.locator(".hiva-maps:visible img").first.get_attribute("src")
    page.get_by_role("radio", name="#1").check()
    page.wait_for_function("old => document.querySelector('.hiva-maps img').getAttribute('src') !== old", arg=maps)
    assert bars.inner_text() != first


def test_where_the_keyboard_is_can_be_seen_at_the_choice_of_the_face(desktop, uploads):
    upload_photo(desktop, uploads["two_faces"])
    desktop.page.get_by_role("radio").first.wait_for()
    for _ in range(40):
        desktop.page.keyboard.press("Tab")
        if desktop.page.evaluate("document.activeElement.type") == "radio":
            break
    assert desktop.page.evaluate("document.activeElement.type") == "radio"
    assert desktop.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_table_of_a_photo_can_be_downloaded(desktop, uploads, tmp_path):
    upload_photo(desktop, uploads["two_faces"])
    table = read_table(download(desktop, "Table as CSV", tmp_path))
    assert table["source"].tolist() == ["two_faces.jpg"] * 2 and table["face_id"].tolist() == [0, 1]
    shown = desktop.page.locator("[data-au=AU12]:visible .hiva-percent").inner_text()
    assert shown == f"{round(100 * table['AU12'][0])} %"
    pd.testing.assert_frame_equal(read_table(download(desktop, "Table as Parquet", tmp_path)), table)
    openface = pd.read_csv(download(desktop, "Table in OpenFace's columns", tmp_path))
    assert openface["AU12_c"].tolist() == table["AU12_c"].tolist()


@pytest.mark.parametrize(
    ("kind", "message"), [("nobody", "No face was found"), ("broken_photo", "Cannot use 'broken_photo.jpg'")]
)
def test_a_photo_that_shows_nothing_is_explained(desktop, uploads, kind, message):
    upload_photo(desktop, uploads["face"])
    upload_photo(desktop, uploads[kind])
    assert desktop.notice.startswith(message)
    assert str(uploads[kind].parent) not in desktop.notice
    # Nothing of the photo before.
    assert desktop.page.locator("[data-au]:visible").count() == 0


def test_a_video_gives_timeline_annotated_video_and_table(desktop, uploads, tmp_path):
    upload_video(desktop, uploads["face_video"])
    page = desktop.page
    page.locator("#hiva-timeline .hiva-light").wait_for()
    assert desktop.notice.startswith("8 frames read") and "1 face, in 8 of the frames." in desktop.notice
    table = read_table(download(desktop, "Table as CSV", tmp_path))
    assert table["source"].unique().tolist() == ["face_video.mp4"] and table["frame"].tolist() == list(range(8))
    page.wait_for_function("document.querySelector('#hiva-preview video').readyState > 0")
    duration = page.locator("#hiva-preview video").evaluate("video => video.duration")
    assert duration == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("broken_video", "broken_video.mp4 can't be read as a video"), ("long_video", "long_video.mp4 lasts 5 seconds")],
)
def test_a_video_that_is_refused_is_explained(desktop, uploads, kind, message):
    upload_video(desktop, uploads[kind])
    desktop.page.locator(".hiva-error:visible").wait_for()
    assert desktop.notice.startswith(message)


def test_a_video_can_be_stopped_and_what_was_found_stays(desktop, uploads, tmp_path):
    upload_video(desktop, uploads["many_frames"])
    page = desktop.page
    page.get_by_role("button", name="Stop and show what was found").click()
    page.locator("#hiva-timeline .hiva-light").wait_for()
    assert " Stopped after " in desktop.notice
    table = read_table(download(desktop, "Table as CSV", tmp_path))
    # The face leaves at one edge and comes back at the other: there are frames with two.
    num_frames = table["frame"].nunique()
    assert 0 < num_frames < 230 and desktop.notice.startswith(f"{num_frames} frames read")


def test_the_webcam_is_read_as_it_runs(phone):
    page = phone.page
    page.get_by_role("tab", name="Webcam").click()
    page.get_by_text("Click to Access Webcam").click()
    page.locator("#hiva-webcam button.capture-button").first.click()
    page.locator("[data-au=AU12]:visible").wait_for()
    assert phone.notice == "1 face was found."
    assert page.locator(".hiva-maps:visible img").count() == 2
    assert not phone.has_overflow()


def test_all_fits_a_phone(phone, uploads):
    upload_photo(phone, uploads["face"])
    page = phone.page
    assert not phone.has_overflow()
    # The maps stand above the bars, and come into view when a bar is pressed.
    page.locator("[data-au=AU25]:visible").click()
    page.locator(".hiva-au-title:visible", has_text="AU25 ").wait_for()
    page.wait_for_function("document.querySelector('.hiva-maps').getBoundingClientRect().top >= 0")
    page.get_by_role("tab", name="About").click()
    assert page.get_by_text("AUs are movements, not feelings: a smile may be polite").is_visible()
    assert not phone.has_overflow()


def test_every_picture_has_a_description_and_every_button_a_name(desktop, uploads):
    upload_photo(desktop, uploads["face"])
    page = desktop.page
    descriptions = page.locator(".hiva-figure:visible img").evaluate_all("images => images.map(image => image.alt)")
    assert len(descriptions) == 3 and all(len(text) > 20 for text in descriptions)
    nameless = page.locator("button:visible").evaluate_all(
        "buttons => buttons.filter(b => !(b.innerText.trim() || b.ariaLabel || b.title)).map(b => b.outerHTML)"
    )
    assert nameless == []


def test_only_the_own_host_is_asked(desktop, phone):
    """Runs after the others of this file: what they made the page ask for counts."""
    assert len(desktop.addresses) > 20
    assert desktop.hosts | phone.hosts == {"127.0.0.1"}


def test_the_browser_refuses_other_hosts(desktop):
    refused = "fetch('https://example.com/').then(() => false, () => true)"
    assert desktop.page.evaluate(refused)
    policies = desktop.page.evaluate("fetch('/').then(answer => answer.headers.get('content-security-policy'))")
    assert policies.startswith("default-src 'self'")


def test_what_a_visitor_left_is_deleted(visit, server, uploads, tmp_path):
    visitor = visit()
    # A picture that nobody else uploaded, and a video that is not read.
    own, unread = tmp_path / "own.jpg", tmp_path / "unread.mp4"
    Image.open(uploads["face"]).rotate(3).save(own)
    unread.write_bytes(uploads["face_video"].read_bytes() + b"\0\0\0\x08free")
    upload_photo(visitor, own)
    visitor.page.get_by_role("tab", name="Video").click()
    # The call that is not queued notes it.
    with visitor.page.expect_response(lambda answer: "/run/" in answer.url):
        visitor.page.locator("#hiva-video input[type=file]").first.set_input_files(unread)
    before = {path for path in server.files.rglob("*") if path.name in ("own.jpg", "unread.mp4")}
    assert len(before) == 2
    visitor.page.close()
    for _ in range(100):
        if not any(path.exists() for path in before):
            break
        time.sleep(0.2)
    assert not any(path.exists() for path in before)


@pytest.mark.parametrize("seconds", [0, -1.0])
def test_a_limit_for_videos_must_be_positive(seconds):
    with pytest.raises(ValueError, match="max_video_seconds"):
        build_demo(max_video_seconds=seconds)
