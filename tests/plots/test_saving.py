import pytest
from matplotlib.figure import Figure
from PIL import Image

from jaxcnn.errors import UserError
from jaxcnn.plots.saving import save

pytestmark = pytest.mark.fast


def test_a_figure_is_saved_in_folders_that_are_made(tmp_path):
    path = tmp_path / "deep" / "figure.png"
    save(Figure(figsize=(2, 1)), path)
    assert Image.open(path).size == (220, 110)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/figure.png: (Not a dir|File exists)"):
        save(Figure(), tmp_path / "file" / "figure.png")
