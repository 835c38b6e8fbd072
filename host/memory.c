/*
 * Most of what a node that has started keeps resident is code that ran once: initialisation of
 * libraries, handshakes. Such pages are the file's, and read-only; the kernel would take them first
 * if it were short of memory. Without its asking, they are unmapped here, and those that run again
 * are mapped again from the page cache, sixteen at a time, a microsecond each time.
 *
 * Only segments that the linker has made read-only are touched. What is relocated, and then made
 * read-only, is part of writable segments; objects with relocations in their code are left alone.
 */
#include "host/memory.h"

#include <link.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool is_code_relocated(const struct dl_phdr_info *object) {
    for (int i = 0; i < object->dlpi_phnum; i++) {
        if (object->dlpi_phdr[i].p_type != PT_DYNAMIC)
            continue;
        const ElfW(Dyn) *d = (const void *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
        for (; d->d_tag != DT_NULL; d++)
            if (d->d_tag == DT_TEXTREL || (d->d_tag == DT_FLAGS && d->d_un.d_val & DF_TEXTREL))
                return true;
    }
    return false;
}

static void unmap_pages(uintptr_t from, size_t len) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = from & ~(page - 1);
    madvise((void *)first, from + len - first, MADV_DONTNEED); /* a wish */
}

static int trim_object(struct dl_phdr_info *object, size_t size, void *unused) {
    (void)size, (void)unused;
    if (strstr(object->dlpi_name, "linux-vdso") || is_code_relocated(object))
        return 0;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W))
            unmap_pages(object->dlpi_addr + segment->p_vaddr, segment->p_memsz);
    }
    return 0;
}

void memory_trim(void) {
    malloc_trim(0);
    dl_iterate_phdr(trim_object, NULL);
}
