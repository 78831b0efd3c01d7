# Functions as a compiler makes them, each with one thing about it: the subjects of tests.rs.
# Those that are called only return; what matters is who calls them.
.intel_syntax noprefix
.text

.macro function name
.globl \name
.type \name, @function
.balign 64
\name:
.endm
.macro ends name
.size \name, . - \name
.endm

# The block is known at the test for NULL, the size in rbx, which the caller gets back by pop.
function simple
    push rbx
    mov rbx, rdi
    call take
    test rax, rax
    je 1f
    pop rbx
    ret
1:  pop rbx
    ret
ends simple

# Two ways to a block, each with a test of its own behind which it is returned.
function two
    push rbx
    mov rbx, rdi
    call take_fast
    test rax, rax
    jne 1f
    call take
    test rax, rax
    je 2f
    pop rbx
    ret
1:  test al, 15
    jne 3f
    pop rbx
    ret
2:  xor eax, eax
    pop rbx
    ret
3:  ud2
ends two

# The size goes with the call; before it, it is in rsi.
function lost
    push rbx
    mov rsi, rdi
    lea rbx, [rip+0x1000]
    mov rdi, rbx
    call take
    test rax, rax
    je 1f
1:  pop rbx
    ret
ends lost

# What fails is tried again; the block passes the test behind the loop once.
function loop
    push rbx
    mov rbx, rdi
1:  call take
    test rax, rax
    jne 2f
    call reclaim
    jmp 1b
2:  test al, 15
    jne 3f
    pop rbx
    ret
3:  ud2
ends loop

# The block is known before a loop, and passes the jump in it any number of times.
function inloop
    push rbx
    push rbp
    push r12
    mov rbx, rdi
    call take
    mov rbp, rax
1:  call reclaim
    test rax, rax
    jne 1b
    mov rax, rbp
    pop r12
    pop rbp
    pop rbx
    ret
ends inloop

# What is returned is the value of the round before the last.
function previous
    push rbx
    push r12
    sub rsp, 8
    mov rbx, rdi
    xor eax, eax
1:  mov r12, rax
    call take
    test rax, rax
    jne 1b
    nop
    mov rax, r12
    add rsp, 8
    pop r12
    pop rbx
    ret
ends previous

# The block is in the frame over a call.
function spilled
    push rbx
    sub rsp, 16
    mov rbx, rdi
    call take
    mov [rsp+8], rax
    call reclaim
    mov rax, [rsp+8]
    test rax, rax
    je 1f
1:  add rsp, 16
    pop rbx
    ret
ends spilled

# The size is a product; the block comes back by a jump to memset, which gives what it is given.
function product
    push rbx
    mov rax, rdi
    mul rsi
    mov rbx, rax
    jo 2f
    mov rdi, rax
    call take
    test rax, rax
    je 1f
    mov rdi, rax
    mov rdx, rbx
    xor esi, esi
    pop rbx
    jmp fill@plt
2:  xor eax, eax
1:  pop rbx
    ret
ends product

# A message that aborts if its argument is odd, and a fall into nothing behind it.
function aborts
    push rbx
    mov rbx, rdi
    call take
    test rax, rax
    je 1f
    test al, 15
    jne 2f
    pop rbx
    ret
1:  pop rbx
    ret
2:  xor eax, eax
    mov edi, 1
    call message
    nop
ends aborts

# A callee may write into the frame.
function address
    push rbx
    sub rsp, 16
    mov rbx, rdi
    lea rsi, [rsp+8]
    call take
    test rax, rax
    je 1f
1:  add rsp, 16
    pop rbx
    ret
ends address

# A callee that is known at run time alone.
function pointer
    push rbx
    mov rbx, rdi
    call [rip+0x1000]
    test rax, rax
    je 1f
1:  pop rbx
    ret
ends pointer

# A callee that is in another file.
function elsewhere_known
    push rbx
    mov rbx, rdi
    call imported@plt
    test rax, rax
    je 1f
1:  pop rbx
    ret
ends elsewhere_known

# A block that is thrown away behind the only emulated instruction.
function failslater
    push rbx
    mov rbx, rdi
    call take
    nop
    test rax, rax
    je 1f
    cmp qword ptr [rax], 0
    jg 1f
    xor eax, eax
1:  pop rbx
    ret
ends failslater

# It returns into nowhere.
function unbalanced
    push rbx
    call take
    nop
    ret
ends unbalanced

# rbx is not given back.
function lostcaller
    mov rbx, rdi
    call take
    test rax, rax
    je 1f
1:  ret
ends lostcaller

# It calls itself.
function recursion
    push rbx
    mov rbx, rdi
    call recursion
    test rax, rax
    je 1f
1:  pop rbx
    ret
ends recursion

# It ends in another function.
function elsewhere
    push rbx
    mov rbx, rdi
    jmp take
ends elsewhere

# A jump into the middle of `entered` from elsewhere.
function entered
    push rbx
    mov rbx, rdi
into_entered:
    call take
    test rax, rax
    je 1f
1:  pop rbx
    ret
ends entered
function enters
    push rbx
    mov rbx, rsi
    jmp into_entered
ends enters

# Another allocation function that calls one.
function calls_sibling
    push rbx
    mov rbx, rdi
    call simple
    test rax, rax
    je 1f
1:  pop rbx
    ret
ends calls_sibling

function message
    push rbp
    and edi, 1
    mov ebp, edi
    call reclaim
    test ebp, ebp
    jne 1f
    pop rbp
    ret
1:  call abort
ends message

function take
    ret
ends take
function take_fast
    ret
ends take_fast
function reclaim
    ret
ends reclaim
function abort
    hlt
ends abort

# Chosen at run time, as glibc's is, and called by a name that is not exported.
.globl memset
.type memset, @gnu_indirect_function
.hidden fill
.globl fill
.type fill, @gnu_indirect_function
memset:
fill:
    lea rax, [rip + take]
    ret
.section .note.GNU-stack, "", @progbits
