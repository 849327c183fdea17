asm(".text\n.align 4\n.long 0x1BADB002, 0, -0x1BADB002\n");

volatile int total;

static void out(unsigned short port, unsigned char value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

int add(int a, int b)
{
    int sum = a + b;
    return sum;
}

void _start(void)
{
    for (int i = 1; i <= 3; i++)
        total = add(total, i);
    out(0xf4, total == 6 ? 0 : 1);
    for (;;)
        asm volatile("hlt");
}
