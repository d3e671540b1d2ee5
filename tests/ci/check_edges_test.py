#!/usr/bin/python3
"""check-edges on small trees, each with one fault."""
import importlib.machinery
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAM = pathlib.Path(__file__).resolve().parent / "check-edges"


def load(path):
    """The script as a module; its name has no .py."""
    loader = importlib.machinery.SourceFileLoader("check_edges", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


check_edges = load(PROGRAM)


def including(*targets):
    return "".join(f'#include "{target}"\n' for target in targets)


def faults(files, edges):
    return check_edges.find_faults(files, set(files), check_edges.EdgeList(edges))


class CheckEdgesTest(unittest.TestCase):
    FILES = {"a/x.h": "", "b/y.cc": including("b/y.h"), "b/y.h": including("a/x.h") + "#include <vector>\n"}
    EDGES = "check a b  # all of it\nb -> a\n"

    def one_fault(self, files, edges, *words):
        found = faults(files, edges)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])

    def test_accepts_a_tree_that_is_as_the_list_says(self):
        self.assertEqual(faults(self.FILES, self.EDGES), [])

    def test_names_the_include_of_an_edge_that_is_not_listed(self):
        self.one_fault(self.FILES, "check a b\n", "b -> a is not listed", "b/y.h includes a/x.h")

    def test_names_a_listed_edge_that_nothing_uses(self):
        self.one_fault(self.FILES, self.EDGES + "a -> b\n", "a -> b is listed")

    def test_finds_files_that_include_each_other(self):
        files = {"a/x.h": including("a/y.h"), "a/y.h": including("a/z.h"), "a/z.h": including("a/x.h")}
        self.one_fault(files, "check a\n", "files include each other", "a/x.h -> a/y.h -> a/z.h -> a/x.h")

    def test_finds_folders_that_include_each_other_by_different_files(self):
        files = {"a/x.h": "", "a/y.h": including("b/y.h"), "b/x.h": including("a/x.h"), "b/y.h": ""}
        self.one_fault(files, "check a b\na -> b\nb -> a\n", "folders include each other", "a -> b -> a")

    def test_lets_tests_have_edges_of_their_own_which_make_no_cycle(self):
        files = self.FILES | {"a/x_test.cc": including("a/x.h", "b/y.h")}
        self.one_fault(files, self.EDGES, "tests a -> b is not listed")
        self.assertEqual(faults(files, self.EDGES + "tests a -> b\n"), [])

    def test_needs_no_line_for_a_tests_edge_that_its_folder_has(self):
        self.assertEqual(faults(self.FILES | {"b/y_fuzz.cc": including("a/x.h")}, self.EDGES), [])

    def test_keeps_the_code_from_what_is_for_tests(self):
        files = {"a/testing/f.h": "", "a/x.cc": including("a/testing/f.h")}
        self.one_fault(files, "check a\na -> a/testing\n", "for tests only")
        files = {"a/fakes/f.h": including("b/y.h"), "b/y.h": "", "a/x.cc": including("a/fakes/f.h")}
        self.one_fault(files, "check a b\na -> a/fakes\ntests a/fakes -> b\n", "for tests only")

    def test_refuses_an_include_that_is_not_from_the_top(self):
        self.one_fault({"a/x.h": "", "a/x.cc": including("x.h")}, "check a\n", "a/x.cc includes x.h")

    def test_knows_generated_headers_and_says_which_are_none(self):
        files = {"a/x.cc": including("made.h")}
        self.assertEqual(faults(files, "check a\ngenerated made.h\n"), [])
        self.one_fault(files, "check a\ngenerated made.h gone.h\n", "gone.h")

    def test_counts_the_files_of_a_folder(self):
        files = {f"a/x{number}.h": "" for number in range(check_edges.MOST_FILES + 1)}
        self.one_fault(files, "check a\n", "a has 31 files")

    def test_refuses_a_checked_folder_without_code(self):
        self.one_fault(self.FILES, self.EDGES + "check gone\n", "check gone")

    def test_refuses_a_list_that_it_does_not_understand(self):
        for text in ("b -> a\n", "check a\nb - > a\n", "check a\nb ->\n", "check a\nb -> a\nb -> a\n"):
            with self.subTest(text), self.assertRaises(check_edges.ListError):
                check_edges.EdgeList(text)

    def test_reads_what_git_knows_and_exits_with_the_verdict(self):
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            subprocess.run(["git", "init", "-q", directory], check=True)
            for path, text in (self.FILES | {"edges.txt": self.EDGES, "c/unchecked.h": including("none.h")}).items():
                (root / path).parent.mkdir(exist_ok=True)
                (root / path).write_text(text)
            command = [sys.executable, str(PROGRAM), "--root", directory, "--edges", str(root / "edges.txt")]
            right = subprocess.run(command, capture_output=True, text=True)
            (root / "edges.txt").write_text("check a b\n")
            wrong = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((right.returncode, right.stdout), (0, "3 files include as edges.txt says\n"), right.stderr)
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("b -> a is not listed", wrong.stdout)


if __name__ == "__main__":
    unittest.main()
