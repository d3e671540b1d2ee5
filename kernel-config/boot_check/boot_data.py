#!/usr/bin/env python3
"""Writes the low memory that entry.S expects: entry address, boot_params, page tables, setup_data, command line.

Usage: boot_data.py VMLINUX DTB INITRAMFS INITRAMFS_ADDRESS MEMORY_MIB COMMAND_LINE >IMAGE; the image belongs at 0x6000.
The layout of boot_params and setup_data is Linux's Documentation/arch/x86/zero-page.rst and boot.rst.
"""
import os
import struct
import sys

BASE = 0x6000
BOOT_PARAMS = 0x7000
PAGE_TABLES = 0x9000
RNG_SEED = 0xF000
DEVICE_TREE = 0x10000
COMMAND_LINE = 0x20000
RESERVED = 0x9F000  # vmgenid; not RAM for the kernel

SETUP_DTB = 2
SETUP_RNG_SEED = 9


def put(image, address, data):
    image[address - BASE : address - BASE + len(data)] = data


def setup_data(following, kind, data):
    return struct.pack("<QII", following, kind, len(data)) + data


def page_tables():
    """One GiB mapped to itself in 2 MiB pages."""
    top = struct.pack("<Q", (PAGE_TABLES + 0x1000) | 3).ljust(0x1000, b"\0")
    middle = struct.pack("<Q", (PAGE_TABLES + 0x2000) | 3).ljust(0x1000, b"\0")
    return top + middle + b"".join(struct.pack("<Q", page << 21 | 0x83) for page in range(512))


def boot_params(initramfs_address, initramfs_size, memory_bytes):
    params = bytearray(0x1000)
    regions = [(0, RESERVED, 1), (1 << 20, memory_bytes - (1 << 20), 1)]
    params[0x1E8] = len(regions)
    for index, region in enumerate(regions):
        struct.pack_into("<QQI", params, 0x2D0 + 20 * index, *region)
    struct.pack_into("<H", params, 0x1FE, 0xAA55)
    params[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", params, 0x206, 0x20F)  # protocol version
    params[0x210] = 0xFF  # unknown boot loader
    params[0x211] = 0x01 | 0x02  # LOADED_HIGH, KASLR_FLAG
    struct.pack_into("<II", params, 0x218, initramfs_address, initramfs_size)
    struct.pack_into("<I", params, 0x228, COMMAND_LINE)
    struct.pack_into("<Q", params, 0x250, DEVICE_TREE)
    return params


def main():
    vmlinux, dtb, initramfs, initramfs_address, memory_mib, command_line = sys.argv[1:]
    with open(vmlinux, "rb") as file:
        entry = struct.unpack_from("<Q", file.read(64), 24)[0]
    with open(dtb, "rb") as file:
        tree = setup_data(RNG_SEED, SETUP_DTB, file.read())
    image = bytearray(COMMAND_LINE + 0x1000 - BASE)
    put(image, BASE, struct.pack("<Q", entry))
    put(image, BOOT_PARAMS, boot_params(int(initramfs_address, 0), os.path.getsize(initramfs), int(memory_mib) << 20))
    put(image, PAGE_TABLES, page_tables())
    put(image, RNG_SEED, setup_data(0, SETUP_RNG_SEED, os.urandom(32)))
    put(image, DEVICE_TREE, tree)
    put(image, COMMAND_LINE, command_line.encode() + b"\0")
    sys.stdout.buffer.write(image)


if __name__ == "__main__":
    main()
