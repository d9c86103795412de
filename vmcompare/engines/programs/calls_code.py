"""Machine code of :mod:`vmcompare.engines.programs.calls`, for both kinds of processor.

Both do the same. Memory shared with the children lies at ``0x20000000``: results of the calls of
one sequence, at +0xff8 the status of a child that ended, at +0x1000 the answers, at +0x8000 a
buffer. What follows the code begins with the number of sequences, the timer of each child at +16,
and at +64 the calls, 64 bytes each: number, flags, six arguments.
Encodings: Intel 64 and IA-32 SDM vol. 2; Arm Architecture Reference Manual (A64).
"""

from __future__ import annotations

import struct

# mmap 9, clone 56, wait4 61, write 1, exit_group 231, setitimer 38 (Linux, syscall_64.tbl).
X86_64 = bytes.fromhex(
    "bf00000020"  # mov edi,0x20000000
    "be00000100"  # mov esi,0x10000
    "ba03000000"  # mov edx,0x3
    "41ba31000000"  # mov r10d,0x31
    "4983c8ff"  # or r8,0xffffffffffffffff
    "4531c9"  # xor r9d,r9d
    "b809000000"  # mov eax,0x9
    "0f05"  # syscall
    "bd00000020"  # mov ebp,0x20000000
    "4839e8"  # cmp rax,rbp
    "0f85b0000000"  # jne fail
    "488d1d62010000"  # lea rbx,[rip+0x162]
    "448b3b"  # mov r15d,[rbx]
    "4883c340"  # add rbx,0x40
    "488dad00100000"  # lea rbp,[rbp+0x1000]
    "b801000000"  # probe: mov eax,0x1
    "48c1e03f"  # shl rax,0x3f
    "48894500"  # mov [rbp+0x0],rax
    "bf11000000"  # mov edi,0x11
    "31f6"  # xor esi,esi
    "31d2"  # xor edx,edx
    "4531d2"  # xor r10d,r10d
    "4531c0"  # xor r8d,r8d
    "b838000000"  # mov eax,0x38
    "0f05"  # syscall
    "4885c0"  # test rax,rax
    "782e"  # js skip
    "7478"  # je child
    "4889c7"  # mov rdi,rax
    "bef80f0020"  # mov esi,0x20000ff8
    "31d2"  # xor edx,edx
    "4531d2"  # xor r10d,r10d
    "b83d000000"  # mov eax,0x3d
    "0f05"  # syscall
    "488b4500"  # mov rax,[rbp+0x0]
    "488d0c00"  # lea rcx,[rax+rax*1]
    "4885c9"  # test rcx,rcx
    "750b"  # jne skip
    "8b0c25f80f0020"  # mov ecx,ds:0x20000ff8
    "48014d00"  # add [rbp+0x0],rcx
    "f7430800020000"  # skip: test [rbx+0x8],0x200
    "488d5b40"  # lea rbx,[rbx+0x40]
    "74f3"  # je skip
    "4883c508"  # add rbp,0x8
    "41ffcf"  # dec r15d
    "7594"  # jne probe
    "bb00100020"  # mov ebx,0x20001000
    "4889ea"  # write: mov rdx,rbp
    "4829da"  # sub rdx,rbx
    "7419"  # je done
    "bf01000000"  # mov edi,0x1
    "4889de"  # mov rsi,rbx
    "b801000000"  # mov eax,0x1
    "0f05"  # syscall
    "4885c0"  # test rax,rax
    "7e0e"  # jle fail
    "4801c3"  # add rbx,rax
    "ebdf"  # jmp write
    "31ff"  # done: xor edi,edi
    "b8e7000000"  # leave: mov eax,0xe7
    "0f05"  # syscall
    "bf01000000"  # fail: mov edi,0x1
    "ebf2"  # jmp leave
    "31ff"  # child: xor edi,edi
    "488d35b9000000"  # lea rsi,[rip+0xb9]
    "31d2"  # xor edx,edx
    "b826000000"  # mov eax,0x26
    "0f05"  # syscall
    "4531e4"  # xor r12d,r12d
    "41bd00000020"  # mov r13d,0x20000000
    "4c8b7308"  # call: mov r14,[rbx+0x8]
    "4d85e4"  # test r12,r12
    "7909"  # jns make
    "41f7c600010000"  # test r14d,0x100
    "7463"  # je next
    "488b7b10"  # make: mov rdi,[rbx+0x10]
    "41f6c601"  # test r14b,0x1
    "7403"  # je make+0xd
    "488b3f"  # mov rdi,[rdi]
    "488b7318"  # mov rsi,[rbx+0x18]
    "41f6c602"  # test r14b,0x2
    "7403"  # je make+0x1a
    "488b36"  # mov rsi,[rsi]
    "488b5320"  # mov rdx,[rbx+0x20]
    "41f6c604"  # test r14b,0x4
    "7403"  # je make+0x27
    "488b12"  # mov rdx,[rdx]
    "4c8b5328"  # mov r10,[rbx+0x28]
    "41f6c608"  # test r14b,0x8
    "7403"  # je make+0x34
    "4d8b12"  # mov r10,[r10]
    "4c8b4330"  # mov r8,[rbx+0x30]
    "41f6c610"  # test r14b,0x10
    "7403"  # je make+0x41
    "4d8b00"  # mov r8,[r8]
    "4c8b4b38"  # mov r9,[rbx+0x38]
    "41f6c620"  # test r14b,0x20
    "7403"  # je make+0x4e
    "4d8b09"  # mov r9,[r9]
    "488b03"  # mov rax,[rbx]
    "0f05"  # syscall
    "49894500"  # mov [r13+0x0],rax
    "41f7c600010000"  # test r14d,0x100
    "7503"  # jne next
    "4989c4"  # mov r12,rax
    "4983c508"  # next: add r13,0x8
    "4883c340"  # add rbx,0x40
    "41f7c600020000"  # test r14d,0x200
    "0f8476ffffff"  # je call
    "4c896500"  # mov [rbp+0x0],r12
    "31ff"  # xor edi,edi
    "b8e7000000"  # mov eax,0xe7
    "0f05"  # syscall
)

# mmap 222, clone 220, wait4 260, write 64, exit_group 94, setitimer 103 (asm-generic/unistd.h).
_ARM64 = (
    0xD2A40000,  # mov x0, #0x20000000
    0xD2A00021,  # mov x1, #0x10000
    0xD2800062,  # mov x2, #0x3
    0xD2800623,  # mov x3, #0x31
    0x92800004,  # mov x4, #0xffffffffffffffff
    0xD2800005,  # mov x5, #0x0
    0xD2801BC8,  # mov x8, #0xde
    0xD4000001,  # svc #0x0
    0xD2A40014,  # mov x20, #0x20000000
    0xEB14001F,  # cmp x0, x20
    0x54000661,  # b.ne fail
    0x10000B93,  # adr x19, data
    0xB9400275,  # ldr w21, [x19]
    0x91010273,  # add x19, x19, #0x40
    0x91400694,  # add x20, x20, #0x1, lsl #12
    0xD2F00009,  # probe: mov x9, #0x8000000000000000
    0xF9000289,  # str x9, [x20]
    0xD2800220,  # mov x0, #0x11
    0xD2800001,  # mov x1, #0x0
    0xD2800002,  # mov x2, #0x0
    0xD2800003,  # mov x3, #0x0
    0xD2800004,  # mov x4, #0x0
    0xD2801B88,  # mov x8, #0xdc
    0xD4000001,  # svc #0x0
    0xF100001F,  # cmp x0, #0x0
    0x540001EB,  # b.lt skip
    0x540004A0,  # b.eq child
    0xD2A40001,  # mov x1, #0x20000000
    0x913FE021,  # add x1, x1, #0xff8
    0xD2800002,  # mov x2, #0x0
    0xD2800003,  # mov x3, #0x0
    0xAA0103F9,  # mov x25, x1
    0xD2802088,  # mov x8, #0x104
    0xD4000001,  # svc #0x0
    0xF9400289,  # ldr x9, [x20]
    0xD37FF92A,  # lsl x10, x9, #1
    0xB500008A,  # cbnz x10, skip
    0xB940032B,  # ldr w11, [x25]
    0x8B0B0129,  # add x9, x9, x11
    0xF9000289,  # str x9, [x20]
    0xF9400669,  # skip: ldr x9, [x19, #8]
    0x91010273,  # add x19, x19, #0x40
    0x364FFFC9,  # tbz w9, #9, skip
    0x91002294,  # add x20, x20, #0x8
    0x710006B5,  # subs w21, w21, #0x1
    0x54FFFC41,  # b.ne probe
    0xD2A40013,  # mov x19, #0x20000000
    0x91400673,  # add x19, x19, #0x1, lsl #12
    0xEB130282,  # write: subs x2, x20, x19
    0x54000120,  # b.eq done
    0xD2800020,  # mov x0, #0x1
    0xAA1303E1,  # mov x1, x19
    0xD2800808,  # mov x8, #0x40
    0xD4000001,  # svc #0x0
    0xF100001F,  # cmp x0, #0x0
    0x540000CD,  # b.le fail
    0x8B000273,  # add x19, x19, x0
    0x17FFFFF7,  # b write
    0xD2800000,  # done: mov x0, #0x0
    0xD2800BC8,  # leave: mov x8, #0x5e
    0xD4000001,  # svc #0x0
    0xD2800020,  # fail: mov x0, #0x1
    0x17FFFFFD,  # b leave
    0xD2800000,  # child: mov x0, #0x0
    0x10000561,  # adr x1, data+0x10
    0xD2800002,  # mov x2, #0x0
    0xD2800CE8,  # mov x8, #0x67
    0xD4000001,  # svc #0x0
    0xD2800016,  # mov x22, #0x0
    0xD2A40017,  # mov x23, #0x20000000
    0xF9400678,  # call: ldr x24, [x19, #8]
    0xB6F80056,  # tbz x22, #63, make
    0x36400318,  # tbz w24, #8, next
    0xF9400A60,  # make: ldr x0, [x19, #16]
    0x36000058,  # tbz w24, #0, make+0xc
    0xF9400000,  # ldr x0, [x0]
    0xF9400E61,  # ldr x1, [x19, #24]
    0x36080058,  # tbz w24, #1, make+0x18
    0xF9400021,  # ldr x1, [x1]
    0xF9401262,  # ldr x2, [x19, #32]
    0x36100058,  # tbz w24, #2, make+0x24
    0xF9400042,  # ldr x2, [x2]
    0xF9401663,  # ldr x3, [x19, #40]
    0x36180058,  # tbz w24, #3, make+0x30
    0xF9400063,  # ldr x3, [x3]
    0xF9401A64,  # ldr x4, [x19, #48]
    0x36200058,  # tbz w24, #4, make+0x3c
    0xF9400084,  # ldr x4, [x4]
    0xF9401E65,  # ldr x5, [x19, #56]
    0x36280058,  # tbz w24, #5, make+0x48
    0xF94000A5,  # ldr x5, [x5]
    0xF9400268,  # ldr x8, [x19]
    0xD4000001,  # svc #0x0
    0xF90002E0,  # str x0, [x23]
    0x37400058,  # tbnz w24, #8, next
    0xAA0003F6,  # mov x22, x0
    0x910022F7,  # next: add x23, x23, #0x8
    0x91010273,  # add x19, x19, #0x40
    0x364FFC98,  # tbz w24, #9, call
    0xF9000296,  # str x22, [x20]
    0xD2800000,  # mov x0, #0x0
    0xD2800BC8,  # mov x8, #0x5e
    0xD4000001,  # svc #0x0
)
ARM64 = struct.pack(f"<{len(_ARM64)}I", *_ARM64)
