"""Embeddings and search of images outside the run."""

import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import dnc
import numpy
import PIL.Image
import polars
from quickstart import folder, pictures, small


class Embeddings(unittest.TestCase):
    def setUp(self):
        self.model = small().model()
        self.files = pictures()["image"].to_list()
        self.stored = numpy.array(pictures()["vector"].to_list(), numpy.float32)

    def test_they_are_those_that_the_run_stored(self):
        self.assertGreater(len(self.files), 1000)
        vectors = self.model.embed(self.files)
        self.assertEqual((vectors.dtype, vectors.shape), (numpy.float32, (len(self.files), self.model.dim)))
        numpy.testing.assert_allclose(vectors, self.stored, rtol=0, atol=1e-6)

    def test_every_form_of_an_image_gives_the_same(self):
        few = self.files[:70]
        opened = [PIL.Image.open(io.BytesIO(file)) for file in few]
        arrays = numpy.stack([numpy.asarray(image.convert("RGB")) for image in opened])
        with tempfile.TemporaryDirectory() as place:
            paths = [Path(place) / f"{number}.webp" for number in range(len(few))]
            for path, file in zip(paths, few):
                path.write_bytes(file)
            expected = self.model.embed(few)
            for images in [paths, [str(path) for path in paths], opened, arrays, list(arrays), (file for file in few)]:
                numpy.testing.assert_array_equal(self.model.embed(images), expected)
            for image in [paths[3], opened[3], arrays[3], few[3]]:
                numpy.testing.assert_allclose(self.model.embed(image), expected[3:4], rtol=0, atol=1e-6)
        # A view with other strides.
        flipped = arrays[:, :, ::-1]
        numpy.testing.assert_array_equal(self.model.embed(flipped), self.model.embed(flipped.copy()))
        self.assertEqual(self.model.embed([]).shape, (0, self.model.dim))

    def test_images_of_pillow_are_converted_by_the_run(self):
        generator = numpy.random.default_rng(0)
        colours = generator.integers(0, 256, (40, 50, 4), numpy.uint8)
        rgba = PIL.Image.fromarray(colours)
        turned = PIL.Image.fromarray(colours[:, :, :3])
        exif = turned.getexif()
        exif[0x0112] = 6
        for image, options in [
            (rgba, {}),
            (rgba.convert("LA"), {}),
            (rgba.convert("L"), {}),
            (rgba.convert("RGB").quantize(16), {}),
            (turned, {"exif": exif}),
        ]:
            file = io.BytesIO()
            image.save(file, "PNG", **options)
            opened = PIL.Image.open(io.BytesIO(file.getvalue()))
            numpy.testing.assert_array_equal(
                self.model.embed(opened), self.model.embed(file.getvalue()), str(image.mode)
            )

    def test_without_numpy_the_result_is_a_memoryview(self):
        code = f"""if True:
            import sys
            sys.modules["numpy"] = None
            import dnc
            model = dnc.open({str(small().path)!r}).model()
            vectors = model.embed([bytes.fromhex({self.files[0].hex()!r})] * 3)
            assert isinstance(vectors, memoryview) and vectors.shape == (3, model.dim) and vectors.format == "f"
            print(vectors[2, 0])
        """
        printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        self.assertAlmostEqual(float(printed), float(self.stored[0][0]), places=6)

    def test_a_file_name_need_not_be_utf_8(self):
        with tempfile.TemporaryDirectory() as place:
            path = os.path.join(os.fsencode(place), b"caf\xe9.webp")
            with open(path, "wb") as file:
                file.write(self.files[0])
            vectors = self.model.embed(os.fsdecode(path))
        numpy.testing.assert_allclose(vectors[0], self.stored[0], rtol=0, atol=1e-6)

    def test_what_is_no_image_is_named(self):
        for image, message in [
            (b"text", "Image 0 is not a JPEG, PNG"),
            ("missing.png", r"Cannot read `missing.png`: No such file"),
            (__file__, r"test_model.py` is not a JPEG, PNG"),
            (numpy.zeros((8, 8), numpy.uint8), r"Image 0 has shape \(8, 8\) and type uint8"),
            (numpy.zeros((8, 8, 3)), "type float64"),
            (numpy.zeros((0, 8, 3), numpy.uint8), "Image 0 is empty"),
            (numpy.zeros((1, 70_000, 3), numpy.uint8), "Image 0 has 70000 pixels along one side"),
            (3.5, "An image must be a path"),
            ([None], "Image 0 is a `NoneType`"),
        ]:
            with self.assertRaisesRegex(dnc.DncError, message):
                self.model.embed(image)


class Search(unittest.TestCase):
    def test_an_image_of_the_run_finds_itself(self):
        row = pictures().filter(polars.col("split") == "test").row(0, named=True)
        for image in [row["id"], row["image"]]:
            found = small().search(image, k=3).to_dicts()
            self.assertEqual([hit["rank"] for hit in found], [1, 2, 3])
            self.assertEqual((found[0]["id"], found[0]["class"]), (row["id"], row["class"]))
            self.assertLess(found[0]["distance"], 1e-3)

    def test_it_finds_what_the_command_line_finds(self):
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "query.webp"
            path.write_bytes(pictures()["image"][7])
            command = ["dnc-run", "search", small().id, str(path), "-k", "5", "--format", "json"]
            printed = subprocess.run(command, cwd=folder(), capture_output=True, text=True, check=True).stdout
            expected = json.loads(printed)[0]["neighbours"]
            found = small().search(path, k=5).to_dicts()
            by_learner = small().search([path, 3], k=2, learner=0).to_dicts()
        keys = ["rank", "id", "class", "source", "share_right"]
        self.assertEqual(
            [[hit[key] for key in keys] for hit in found], [[hit[key] for key in keys] for hit in expected]
        )
        self.assertEqual([hit["query"] for hit in by_learner], [0, 0, 1, 1])

    def test_what_cannot_be_searched_is_said(self):
        for options, message in [
            ({"k": 0}, "`k` is 0"),
            ({"within": "tests"}, "must be train, validation"),
            ({"learner": 9}, "`learner` is 9, but must be below"),
            ({"approximate": True}, "has no index"),
        ]:
            with self.assertRaisesRegex(dnc.DncError, message):
                small().search(0, **options)
        with self.assertRaisesRegex(dnc.DncError, "no image with the id"):
            small().search(10**6)
