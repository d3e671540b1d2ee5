#!/usr/bin/python3
"""KASLR: each template has a kernel layout of its own, which its clones share."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.host import HostTest, output  # noqa: E402

LINKED = 0xffffffff81000000
STEP = 2 << 20
# With kptr_restrict 0 some addresses are shown hashed.
LAYOUT = ("echo 1 >/proc/sys/kernel/kptr_restrict; sed -n 's/ T _text$//p' /proc/kallsyms; sed -n 's/-.* : Kernel code//p' /proc/iomem; "
          "head -n 1 /proc/vmallocinfo | cut -d - -f 1")


def layout(memory):
    """Where a kernel runs, where it is in memory, and where what it maps itself begins."""
    text, place, mapped = output("run", "--rm", "--privileged", "-m", memory, "busybox", "sh", "-c", LAYOUT).split()
    return int(text, 16), int(place, 16), int(mapped, 16)


class KernelLayoutTest(HostTest):
    def test_each_template_has_a_layout_of_its_own_and_its_clones_share_it(self):
        shapes = ("32m", "128m", "300m")  # each of another size of machine, so of another template
        layouts = [layout(memory) for memory in shapes]

        self.assertEqual(layout(shapes[0]), layouts[0])
        self.assertEqual(len(set(layouts)), len(layouts))
        for text, place, mapped in layouts:
            self.assertEqual((text % STEP, place % STEP), (0, 0))
            self.assertGreater(mapped, 0xffff800000000000)
        # That all of them fall on the unmoved place by chance does not happen: one in 490 each.
        self.assertNotEqual({text for text, _, _ in layouts}, {LINKED})
        self.assertGreater(len({place for _, place, _ in layouts}), 1)
        self.assertGreater(len({mapped for _, _, mapped in layouts}), 1)


if __name__ == "__main__":
    unittest.main()
