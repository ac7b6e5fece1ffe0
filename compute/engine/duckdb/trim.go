package duckdb

/*
#include <malloc.h>
#include <stddef.h>

// The engine's own allocator, part of its static library; absent from a build of
// the engine without it.
__attribute__((weak)) int duckdb_je_mallctl(const char *name, void *old, size_t *oldlen, void *new, size_t newlen);

static void trim(void)
{
	if (duckdb_je_mallctl != NULL) {
		duckdb_je_mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
		duckdb_je_mallctl("arena.4096.purge", NULL, NULL, NULL, 0); // 4096: all of them
	}
	malloc_trim(0);
}
*/
import "C"

import "runtime/debug"

// trim gives back what the warm-up no longer needs: an idle worker keeps its own
// pages of memory for as long as it waits.
func trim() {
	C.trim()
	debug.FreeOSMemory()
}
