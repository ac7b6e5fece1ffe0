package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandgate/sandgate/gateway"
)

// R29: the disk of the real program fills up while operators work, is full at a
// start, and is read-only at a start. What cannot be written is refused or stops the
// ledger, the start says why; with room again nothing is lost, freed or paid twice.
func TestR29_FullAndReadOnlyDisk(t *testing.T) {
	NeedBinary(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=48m,mode=0700"); err != nil {
		said := fmt.Sprintf("A SMALL DISK CANNOT BE MOUNTED HERE (%v): full and read-only disks were not tried; run as root", err)
		if os.Getenv("SANDGATE_NEED_STRACE") != "" {
			t.Fatal(said)
		}
		fmt.Fprintln(os.Stderr, "!! "+said)
		t.Skip(said)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	x := newFaultedIn(t, dir)
	opt := gateway.Options{Wall: time.Second}
	launch := func(what string) {
		t.Helper()
		if err := x.a.launch(opt); err != nil {
			t.Fatalf("%s: the gateway does not come up again: %v", what, err)
		}
	}
	refused := func(what, reason string) {
		t.Helper()
		from := len(x.a.Logs.String())
		if err := x.a.launch(opt); err == nil {
			t.Errorf("%s: the gateway starts", what)
			if err := x.a.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		if said := x.a.Logs.String()[from:]; !regexp.MustCompile(reason).MatchString(said) || broken.MatchString(said) {
			t.Errorf("%s: the start says %s", what, said)
		}
	}
	stuff := filepath.Join(dir, "stuff")
	for round := range 2 {
		launch("before")
		f, err := os.OpenFile(stuff, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(f, io.LimitReader(endless{}, 64<<20))
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("the disk is not full: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		for range 2 {
			x.w.ask(ctx, x.w.fresh(Op(0), "plain"))
		}
		if err := work["ingest"](ctx, x); err == nil {
			t.Error("an ingest finds room on a full disk")
		}
		cancel()
		if err := x.a.Kill(); err != nil {
			t.Fatal(err)
		}
		refused("full disk", "no space left on device")
		if err := os.Remove(stuff); err != nil {
			t.Fatal(err)
		}
		launch("room again")
		x.inspect(t, fmt.Sprintf("full disk %d", round))
		if err := x.a.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	refused("read-only disk", "read-only file system")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	launch("writable again")
	x.inspect(t, "read-only disk")
	released := 0
	for _, q := range x.w.tries {
		if q.rel != nil {
			released++
		}
	}
	if released == 0 || !strings.Contains(x.a.Logs.String(), "no space left") {
		t.Errorf("%d released: this proves little", released)
	}
}

// endless gives as much as is asked for.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte{7}, len(p))), nil }
