// Package duckdb runs DuckDB inside sandbox workers: it registers the handlers
// "execute" and "ingest". It is the only package that links C; a program that is
// to serve as worker binary imports it for its side effects.
package duckdb

/*
#cgo CFLAGS: -O2 -Wall
#cgo LDFLAGS: -Wl,--wrap=open -Wl,--wrap=access -Wl,--wrap=__xstat -Wl,--wrap=__lxstat
#cgo LDFLAGS: -Wl,--wrap=unlink -Wl,--wrap=remove -Wl,--wrap=rename
#include <stdlib.h>
#include "vfs.h"
*/
import "C"

import (
	"errors"
	"os"
	"unsafe"
)

// vfsRoot is where the engine sees the descriptors a worker was handed.
const vfsRoot = "/sandgate/"

// bound keeps the files whose descriptors the table holds: a collected os.File
// closes its descriptor.
var bound []*os.File

// bindFile makes f visible to the engine as vfsRoot+name; an empty name adds a
// spare that the engine may create a file on. The descriptor must stay open as
// long as the engine runs.
func bindFile(name string, f *os.File, writable bool) error {
	path := ""
	if name != "" {
		path = vfsRoot + name
	}
	c := C.CString(path)
	defer C.free(unsafe.Pointer(c))
	mode := C.int(0)
	if writable {
		mode = 1
	}
	if C.sandgate_vfs_bind(c, C.int(f.Fd()), mode) != 0 {
		return errors.New("too many files for one worker")
	}
	bound = append(bound, f)
	return nil
}
