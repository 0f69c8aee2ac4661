"""The pictures of the experiments: scikit-learn's digits, and CIFAR-10 where it lies."""

import hashlib
import io
import tarfile

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.experiments.leak_result import (
    LeakSettings,
)
from transformer_lab.experiments.pictures import (
    CIFAR10_FILE,
    CIFAR10_RECORD,
    available,
    cifar10,
    digits,
    digits_table,
)
from transformer_lab.settings import ConfigError


def test_the_digits_are_scikit_learns_in_a_split_that_never_changes():
    bunch = load_digits()
    table = digits_table()
    assert np.array_equal(table[:, :-1], bunch.data)
    assert np.array_equal(table[:, -1], bunch.target)
    pictures = digits()
    assert (len(pictures.training), len(pictures.test)) == (1347, 450)
    everything = torch.cat([pictures.training, pictures.test]) * 16
    assert np.array_equal(
        np.sort(everything.numpy(), axis=0), np.sort(bunch.data.astype(np.float32), axis=0)
    )
    assert pictures.test_classes[:8].tolist() == digits(10, 8).test_classes.tolist()
    assert pictures.test_classes.bincount().min() >= 35  # every digit is there


def archive_of(folder, records=20, cut=0, classes=10):
    """An archive in CIFAR-10's format, of random pictures; and its bytes by file."""
    draw = np.random.default_rng(0)
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    files = {}
    with tarfile.open(folder / CIFAR10_FILE, "w:gz") as archive:
        for name in names:
            data = draw.integers(0, 256, (records, CIFAR10_RECORD), dtype=np.uint8)
            data[:, 0] = draw.integers(0, classes, records)
            files[name] = data
            content = data.tobytes()[: records * CIFAR10_RECORD - cut]
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    digest = hashlib.sha256((folder / CIFAR10_FILE).read_bytes()).hexdigest()
    return files, digest


def test_cifar10_is_read_as_its_page_describes_it(tmp_path):
    files, digest = archive_of(tmp_path)
    pictures = cifar10([tmp_path], training=30, test=5, sha256=digest)
    assert (pictures.training.shape, pictures.test.shape) == ((30, 3072), (5, 3072))
    record = files["data_batch_2.bin"][3]  # the 24th training picture
    picture = pictures.training[23].view(32, 32, 3)
    red, green, blue = record[1:].reshape(3, 32, 32)
    for channel, plane in enumerate((red, green, blue)):
        assert np.allclose(picture[:, :, channel].numpy(), plane / 255)
    assert pictures.training_classes[23] == record[0]
    assert pictures.test_classes.tolist() == files["test_batch.bin"][:5, 0].tolist()


def test_cifar10_is_offered_only_where_it_lies(tmp_path):
    assert available([tmp_path]) == ["digits"]
    with pytest.raises(ConfigError, match="choose digits") as caught:
        EXPERIMENTS["leak"].run(LeakSettings(pictures="cifar10"), [tmp_path])
    assert caught.value.field == "pcn_leak.pictures"
    archive_of(tmp_path)
    assert available([tmp_path]) == ["digits", "cifar10"]


def test_an_archive_that_is_not_cifar10_is_refused_by_its_hash(tmp_path):
    archive_of(tmp_path)
    with pytest.raises(ConfigError, match="not the known CIFAR-10"):
        next(EXPERIMENTS["leak"].run(LeakSettings(pictures="cifar10"), [tmp_path]))


@pytest.mark.parametrize(
    ("damage", "words"), [({"cut": 1}, "whole"), ({"classes": 256}, "above 9")]
)
def test_records_that_cannot_be_cifar10_are_refused(tmp_path, damage, words):
    _, digest = archive_of(tmp_path, **damage)
    with pytest.raises(ConfigError, match=words):
        cifar10([tmp_path], sha256=digest)
