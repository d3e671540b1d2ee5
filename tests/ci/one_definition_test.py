#!/usr/bin/python3
"""Tests tests/ci/one-definition: small sources with a fault, and without one."""

import os
import subprocess
import tempfile
import unittest

CHECK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "one-definition")


class OneDefinitionTest(unittest.TestCase):
    def complaints(self, **files):
        """The lines that the check prints for files, given as name_h="text". Its status says the same."""
        with tempfile.TemporaryDirectory(prefix="cvm-odr.") as directory:
            paths = []
            for name, text in files.items():
                stem, _, suffix = name.rpartition("_")
                paths.append(os.path.join(directory, f"{stem}.{suffix}"))
                with open(paths[-1], "w", encoding="utf-8") as file:
                    file.write(text)
            result = subprocess.run([CHECK, "--root", directory, *paths], stdout=subprocess.PIPE, text=True, check=False)
        self.assertEqual(result.returncode, 1 if result.stdout else 0)
        return result.stdout.splitlines()

    def test_a_struct_and_a_class_of_one_name_in_two_headers(self):
        lines = self.complaints(
            events_h="#pragma once\nnamespace engine {\nstruct Event {\n  int type;\n};\n}\n",
            event_h="#pragma once\nnamespace engine {\nclass Event {\n public:\n  void set();\n};\n}\n")
        self.assertEqual(lines, ["engine::Event is defined 2 times: event.h:3, events.h:3"])

    def test_types_of_one_name_in_two_sources(self):
        lines = self.complaints(one_cc="namespace a::b {\nenum class Kind { kOne };\n}\n",
                                two_cc="namespace a {\nnamespace b {\nunion Kind { int x; };\n}\n}\n")
        self.assertEqual(lines, ["a::b::Kind is defined 2 times: one.cc:2, two.cc:3"])

    def test_members_types_of_one_name(self):
        lines = self.complaints(one_h="struct S { struct Inner { int x; }; };\n", two_h="struct S { struct Inner {}; };\n")
        self.assertEqual(len(lines), 2)

    def test_functions_constants_and_aliases_of_headers(self):
        text = "namespace a {\ninline int f(int x) { return x; }\ninline constexpr int kMost = 1;\nusing Id = int;\n}\n"
        lines = self.complaints(one_h=text, two_h=text)
        self.assertEqual([line.split()[0] for line in lines], ["a::Id", "a::f(int", "a::kMost"])

    def test_a_function_of_a_header_and_one_of_a_source(self):
        lines = self.complaints(one_h="inline int f(int x) { return x; }\n", two_cc="int f(int x) { return -x; }\n")
        self.assertEqual(len(lines), 1)

    def test_inline_functions_and_templates_of_two_sources(self):
        text = "namespace a {\ninline int f() { return 1; }\ntemplate <typename T>\nT g(T x) { return x; }\n}\n"
        self.assertEqual(len(self.complaints(one_cc=text, two_cc=text)), 2)

    def test_what_is_its_files_own_may_have_any_name(self):
        text = "namespace a {\nnamespace {\nstruct S {};\ninline int f() { return 1; }\n}\nstatic int g() { return 1; }\n}\n"
        self.assertEqual(self.complaints(one_cc="static int h() { return 1; }\n" + text, two_cc=text), [])

    def test_what_is_in_a_function_may_have_any_name(self):
        text = "() {\n  struct Local { int x; };\n  return Local{1}.x;\n}\n"
        self.assertEqual(self.complaints(one_cc="int f" + text, two_cc="int g" + text), [])

    def test_declarations_overloads_and_specialisations_are_no_second_definition(self):
        lines = self.complaints(
            one_h="struct S;\nenum class E : int;\nint f(int x);\ninline int g(int x) { return x; }\n"
                  "template <typename T>\nstruct H { int x; };\ntemplate <typename T>\nint k(T x) { return 1; }\n",
            two_h="struct S { int x; };\nenum class E : int { kOne };\ninline int f(int x) { return x; }\n"
                  "inline int g(long x) { return 1; }\ntemplate <>\nstruct H<int> { long x; };\n"
                  "template <>\ninline int k<int>(int x) { return 2; }\n")
        self.assertEqual(lines, [])

    def test_branches_of_one_file_are_one_definition(self):
        self.assertEqual(self.complaints(one_h="#ifdef A\nstruct S { int x; };\n#else\nstruct S { long x; };\n#endif\n"), [])

    def test_programs_may_each_have_their_main(self):
        text = "int main() { return 0; }\n"
        self.assertEqual(self.complaints(one_cc=text + "struct A {};\n", two_cc=text), [])

    def test_files_that_are_not_understood_are_no_success(self):
        self.assertEqual(len(self.complaints(one_h="")), 1)


unittest.main()
