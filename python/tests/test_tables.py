"""Tables of a run in other libraries."""

import unittest

import dnc
import duckdb
import pandas
import polars
import pyarrow
from quickstart import small


class Tables(unittest.TestCase):
    def test_metrics_have_intervals_and_other_libraries_read_the_same(self):
        table = table_of_run = small().metrics
        frame = polars.DataFrame(table)
        self.assertEqual(frame.columns, table.columns)
        self.assertEqual(frame.height, len(table))
        self.assertEqual(frame.columns[-3:], ["value", "low", "high"])
        means = frame.filter(polars.col("low").is_not_null())
        self.assertLessEqual({"recall", "map_at_r", "r_precision"}, set(means["metric"]))
        self.assertTrue((means["low"] <= means["value"]).all() and (means["value"] <= means["high"]).all())
        # A choice repeats what an evaluation measured and has no queries of its own.
        self.assertTrue(frame.filter(polars.col("node").str.starts_with("choose"))["low"].is_null().all())

        arrow = pyarrow.table(table)
        arrow.validate(full=True)
        self.assertEqual(arrow.to_pylist(), frame.to_dicts())
        self.assertEqual(table.to_dicts(), frame.to_dicts())
        self.assertEqual(table.to_dicts(2), frame.to_dicts()[:2])
        self.assertEqual(pandas.DataFrame.from_arrow(table)["value"].tolist(), frame["value"].to_list())
        self.assertEqual(
            duckdb.sql("select value from table_of_run").fetchnumpy()["value"].tolist(), frame["value"].to_list()
        )

    def test_queries_have_lists_and_nulls(self):
        arrow = pyarrow.table(small().queries)
        arrow.validate(full=True)
        frame = polars.DataFrame(small().queries)
        self.assertEqual(arrow.num_rows, len(small().queries))
        self.assertEqual(arrow.column("neighbours").to_pylist(), frame["neighbours"].to_list())
        self.assertEqual(arrow.column("first_hit").to_pylist(), frame["first_hit"].to_list())
        self.assertGreater(arrow.column("first_hit").null_count, 0)
        scored = frame.filter(polars.col("average_precision").is_not_null())
        metrics = polars.DataFrame(small().metrics)
        for node, split in scored.select("node", polars.col("split").cast(polars.String)).unique().rows():
            of_node = (polars.col("node") == node) & (polars.col("split").cast(polars.String) == split)
            expected = metrics.filter(of_node & (polars.col("metric") == "map_at_r"))["value"].item()
            self.assertAlmostEqual(scored.filter(of_node)["average_precision"].mean(), expected, places=12)

    def test_embeddings_are_not_copied(self):
        table = small().embeddings("evaluate")
        vectors = [pyarrow.table(table).column("vector").chunk(0) for _ in range(2)]
        first, second = (vector.values.buffers()[1].address for vector in vectors)
        self.assertEqual(first, second)
        values = vectors[0].to_pylist()
        # What was read outlives the table.
        del table
        self.assertEqual(vectors[1].to_pylist(), values)
        chosen = small().chosen["node"]
        self.assertEqual(pyarrow.table(small().embeddings(chosen)).column("vector").to_pylist(), values)

    def test_the_stored_tables_of_nodes_are_valid_arrow(self):
        found = 0
        for node in small().record["nodes"]:
            for output in node.get("outputs", {}):
                try:
                    table = small().table(node["node"], output)
                except dnc.DncError as error:
                    self.assertIn("is no table", str(error))
                    continue
                pyarrow.table(table).validate(full=True)
                found += 1
        self.assertGreater(found, 10)

    def test_a_stream_that_nobody_reads_is_freed(self):
        for _ in range(10_000):
            small().metrics.__arrow_c_stream__()

    def test_what_is_not_there_is_named(self):
        for node, output, message in [
            ("evalute", "embeddings", "did you mean"),
            ("decode", "embeddings", "its outputs:"),
        ]:
            with self.assertRaisesRegex(dnc.DncError, message):
                small().table(node, output)

    def test_tables_and_runs_have_html(self):
        html = small()._repr_html_()
        self.assertIn(small().result, html)
        self.assertRegex(html, r"0\.\d{4} ± 0\.\d{4}")
        self.assertIn(f"<th>{small().chosen['node']}</th>", html)
        html = small().queries._repr_html_()
        self.assertIn("<th>neighbours</th>", html)
        self.assertIn(f"10 of {len(small().queries):,} rows", html)
