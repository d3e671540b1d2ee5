# A 64 KiB ROM that does for QEMU what the monitor does through KVM's registers: from the reset vector straight to the
# 64-bit entry of the kernel, with boot_params in %rsi and the first GiB mapped to itself. boot_data.py prepares the
# memory it uses: page tables at 0x9000, boot_params at 0x7000, the entry's address at 0x6000.
.set low, 0xf0000               # the ROM's mirror below 1 MiB

.section .text
.globl _start
.code16
_start:
    cli
    lgdtl %cs:gdt_pointer - _start
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x20, $(low + protected - _start)

.code32
protected:
    movw $0x18, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x9000, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax             # PAE
    movl %eax, %cr4
    movl $0xc0000080, %ecx      # EFER
    rdmsr
    orl $0x100, %eax            # LME
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax       # PG
    movl %eax, %cr0
    ljmpl $0x10, $(low + long_mode - _start)

.code64
long_mode:
    movl $0x7000, %esi
    movq 0x6000, %rax
    jmp *%rax

.balign 8
gdt:
    .quad 0, 0
    .quad 0x00af9b000000ffff    # 0x10: 64-bit code, as the boot protocol wants it
    .quad 0x00cf93000000ffff    # 0x18: data
    .quad 0x00cf9b000000ffff    # 0x20: 32-bit code, for the way there
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long low + gdt - _start

.org 0xfff0
.code16
reset_vector:
    jmp _start
.org 0x10000
