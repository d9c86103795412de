from ..programs.first_byte import elf as elf
