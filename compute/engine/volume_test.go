package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// diskless makes a volume in a test's directory, whatever file system that is on.
func diskless(t testing.TB) *Volume {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	v, err := openVolume(dir, "test", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// device lays out one block device as the kernel shows it: uuid is its device
// mapper id or empty, below the devices it is made of.
func device(t *testing.T, sys, name, number, uuid, parent string, below ...string) {
	t.Helper()
	dir := filepath.Join(sys, "devices", parent, name)
	for _, d := range []string{filepath.Join(dir, "slaves"), filepath.Join(sys, "block")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{}
	if uuid != "" {
		files["dm/uuid"] = uuid + "\n"
	}
	if parent != "" {
		files["partition"] = "1\n"
	}
	for file, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(sys, "block", number)); err != nil {
		t.Fatal(err)
	}
	for _, b := range below {
		if err := os.Symlink(filepath.Join(sys, "devices", b), filepath.Join(dir, "slaves", filepath.Base(b))); err != nil {
			t.Fatal(err)
		}
	}
}

// TestR34_EncryptedDevice: dm-crypt is told from what merely looks like it, through
// partitions, LVM and RAID; one plain leg is enough to refuse.
func TestR34_EncryptedDevice(t *testing.T) {
	sys := t.TempDir()
	device(t, sys, "sda", "8:0", "", "")
	device(t, sys, "sda1", "8:1", "", "sda")
	device(t, sys, "dm-0", "253:0", "CRYPT-LUKS2-0123-luks", "", "sda/sda1")
	device(t, sys, "dm-1", "253:1", "LVM-abc", "", "dm-0")
	device(t, sys, "dm-2", "253:2", "LVM-abd", "", "dm-0", "sda/sda1")
	device(t, sys, "dm-3", "253:3", "CRYPT-VERITY-0123-root", "", "sda/sda1")
	device(t, sys, "dm-4", "253:4", "CRYPT-INTEGRITY-0123-x", "", "sda/sda1")
	device(t, sys, "dm-5", "253:5", "LVM-nothing-below", "")
	device(t, sys, "dm-6p1", "253:6", "", "dm-0")
	device(t, sys, "md0", "9:0", "", "", "dm-1", "dm-0")
	for number, want := range map[string]bool{
		"8:0": false, "8:1": false, "253:0": true, "253:1": true, "253:2": false, "253:3": false, "253:4": false,
		"253:5": false, "253:6": true, "9:0": true, "0:41": false, "": false,
	} {
		if got := encryptedDevice(filepath.Join(sys, "block", number), 0); got != want && number != "" {
			t.Errorf("%s: %v, want %v", number, got, want)
		}
	}
	// The whole way: the directory's own device number.
	dir := t.TempDir()
	var st unix.Stat_t
	if err := errors.Join(os.Chmod(dir, 0o700), unix.Stat(dir, &st)); err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || uint32(fs.Type) == typeTmpfs {
		t.Skip("the temporary directory is a tmpfs: it counts as encrypted")
	}
	own := t.TempDir()
	device(t, own, "dm-9", fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)), "CRYPT-LUKS1-x", "")
	v, err := openVolume(dir, "", filepath.Join(own, "block"))
	if err != nil || v.Kind() != KindDMCrypt {
		t.Fatalf("%v, %v", v, err)
	}
}

// TestR34_VolumeRefusals: what is not known to be encrypted, or not this user's
// alone, is refused before anything is written.
func TestR34_VolumeRefusals(t *testing.T) {
	plain, open := t.TempDir(), t.TempDir()
	if err := errors.Join(os.Chmod(plain, 0o700), os.Chmod(open, 0o750)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(plain, "file")
	if err := os.WriteFile(file, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(plain, &fs); err != nil {
		t.Fatal(err)
	}
	none := t.TempDir()
	for _, c := range []struct{ name, dir, declared, want string }{
		{"declared", plain, "self-encrypting disk", ""},
		{"not known to be encrypted", plain, "", "--large-snapshots-volume-encrypted-by"},
		{"open to a group", open, "x", "0700"},
		{"a file", file, "x", "0700"},
		{"absent", filepath.Join(plain, "absent"), "x", "no such file"},
		{"declared with a line break", plain, "a\nb", "letters"},
		{"declared as nothing", plain, " ", "letters"},
	} {
		if c.declared == "" && uint32(fs.Type) == typeTmpfs {
			continue
		}
		v, err := openVolume(c.dir, c.declared, none)
		if c.want == "" {
			if err != nil || v.Kind() != "declared:"+c.declared {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func volumeStore(t testing.TB, dir string) (*Store, *Volume) {
	opt := testOptions
	opt.Volume = diskless(t)
	return openTestStore(t, dir, opt), opt.Volume
}

// TestR34_LargeSnapshots: what does not fit into memory is opened on the volume,
// without a name, not writable through what a job gets, and gone when nobody
// holds it; what fits stays in memory.
func TestR34_LargeSnapshots(t *testing.T) {
	dir := t.TempDir()
	s, v := volumeStore(t, dir)
	small := put(t, s, "small", bytes.Repeat([]byte("s"), 1000))
	content := bytes.Repeat([]byte("canary-7731 "), testMemory/8)
	large := put(t, s, "large", content)
	if err := s.Fits([]string{large.Snapshot, small.Snapshot}); err != nil {
		t.Fatal(err)
	}
	l := lease(t, s, large.Snapshot, small.Snapshot, large.Snapshot)
	got, err := contents(l)
	if err != nil || !bytes.Equal(got[0], content) || len(got[1]) != 1000 || !bytes.Equal(got[2], content) {
		t.Fatal(err)
	}
	files, _, err := l.Open()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{v.dir, "/memfd:", v.dir} {
		if target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", files[i].Fd())); err != nil || !strings.HasPrefix(target, want) || !strings.HasSuffix(target, "(deleted)") {
			t.Errorf("file %d is %s, %v", i, target, err)
		}
	}
	handed, err := reopen(files[:1])
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(handed)
	if _, err := handed[0].WriteAt([]byte("x"), 0); err == nil {
		t.Error("written")
	}
	if err := handed[0].Truncate(0); err == nil {
		t.Error("cut")
	}
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", handed[0].Fd()), unix.AT_FDCWD, filepath.Join(v.dir, "named"), unix.AT_SYMLINK_FOLLOW); err == nil {
		t.Error("it was given a name")
	}
	if names, err := os.ReadDir(v.dir); err != nil || len(names) != 0 {
		t.Errorf("names on the volume: %v, %v", names, err)
	}
	if s.memory.used > testMemory {
		t.Errorf("%d bytes of memory", s.memory.used)
	}
	l.Release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if v.shelf.used != 0 || len(v.shelf.held) != 0 {
		t.Errorf("%d bytes kept", v.shelf.used)
	}
	// The control: without a volume it is refused.
	var short *TooLarge
	if err := opens(openTestStore(t, dir, testOptions), large.Snapshot); !errors.As(err, &short) || short.Volume {
		t.Fatalf("got %v", err)
	}
}

// TestLargestGoesToTheVolume: of snapshots that fit one by one but not together
// only as many leave memory as must.
func TestLargestGoesToTheVolume(t *testing.T) {
	s, v := volumeStore(t, t.TempDir())
	var ids []string
	for i, n := range []int{testMemory / 4, testMemory / 2, testMemory / 2} {
		ids = append(ids, put(t, s, fmt.Sprintf("s%d", i), bytes.Repeat([]byte{byte(i + 1)}, n)).Snapshot)
	}
	got, err := contents(lease(t, s, ids...))
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range got {
		if len(g) == 0 || g[0] != byte(i+1) {
			t.Errorf("%d: another's content", i)
		}
	}
	if len(s.memory.held) != 2 || len(v.shelf.held) != 1 {
		t.Errorf("%d in memory, %d on the volume", len(s.memory.held), len(v.shelf.held))
	}
}

// TestDamagedLargeSnapshot: a corrupt, cut or exchanged file is refused on the
// volume as in memory, and its room is given back.
func TestR34_DamagedLargeSnapshot(t *testing.T) {
	for name, change := range map[string]func(string) error{
		"cut": func(f string) error { return os.Truncate(f, testMemory) },
		"one byte": func(f string) error {
			text, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			text[len(text)/2] ^= 1
			return rewrite(f, text)
		},
	} {
		dir := t.TempDir()
		s, v := volumeStore(t, dir)
		m := put(t, s, "a", make([]byte, 2*testMemory))
		if err := change(filepath.Join(dir, "snapshots", m.Snapshot, dataFile)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := opens(s, m.Snapshot); err == nil || !strings.Contains(err.Error(), "ingest again") {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if v.shelf.used != 0 || len(v.shelf.held) != 0 {
			t.Errorf("%s: %d bytes kept", name, v.shelf.used)
		}
	}
}

// TestFullVolume: on a file system of 8 MiB, in a mount namespace of its own: a
// lease that finds no room is refused before it is charged, with sizes; snapshots
// that nobody holds make room; an ingest that fills the disk is told so.
func TestFullVolume(t *testing.T) {
	if dir := os.Getenv("SANDGATE_TEST_TINY"); dir != "" {
		fullVolume(t, dir)
		return
	}
	inOwnMounts(t, "TestFullVolume", "SANDGATE_TEST_TINY")
}

// inOwnMounts runs a test again in user and mount namespaces of its own, with a
// directory to mount on in variable.
func inOwnMounts(t *testing.T, name, variable string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+name+"$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+name)) {
		t.Fatalf("%v\n%s", err, out)
	}
}

func fullVolume(t *testing.T, dir string) {
	const room = 8 << 20
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m,mode=0700"); err != nil {
		t.Fatal(err)
	}
	v, err := OpenVolume(dir, "")
	if err != nil || v.Kind() != KindTmpfs {
		t.Fatalf("%v, %v", v, err)
	}
	opt := testOptions
	opt.Volume = v
	s := openTestStore(t, t.TempDir(), opt)
	a, b := put(t, s, "a", make([]byte, 5<<20)), put(t, s, "b", make([]byte, 6<<20))
	huge := put(t, s, "huge", make([]byte, 9<<20))
	first := lease(t, s, a.Snapshot)
	var full *TooLarge
	if _, err := s.Lease(context.Background(), []string{b.Snapshot}); !errors.As(err, &full) || !full.Volume || full.Need != 6<<20 || full.Limit > room ||
		!strings.Contains(err.Error(), "6 MiB needed, 3 MiB free") {
		t.Fatalf("got %v", err)
	}
	if _, err := contents(first); err != nil {
		t.Fatalf("the other's refusal hurt a lease: %v", err)
	}
	first.Release()
	// The idle one goes.
	if _, err := contents(lease(t, s, b.Snapshot)); err != nil {
		t.Fatal(err)
	}
	if err := opens(s, huge.Snapshot); !errors.As(err, &full) {
		t.Fatalf("got %v", err)
	}
	x := &account{memory: s.memory, volume: v}
	if _, err := x.spool(bytes.NewReader(make([]byte, 20<<20))); !errors.As(err, &full) || !full.Volume {
		t.Fatalf("got %v", err)
	}
}

// TestFullDisk: an ingest that the disk has no room for leaves the old snapshot in
// force and nothing behind.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv("SANDGATE_TEST_FULL"); dir != "" {
		fullDisk(t, dir)
		return
	}
	inOwnMounts(t, "TestFullDisk", "SANDGATE_TEST_FULL")
}

func fullDisk(t *testing.T, dir string) {
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m,mode=0700")); err != nil {
		t.Fatal(err)
	}
	opt := testOptions
	opt.Memory = 64 << 20
	s := openTestStore(t, filepath.Join(dir, "store"), opt)
	old := put(t, s, "a", bytes.Repeat([]byte("old"), 1000))
	f, err := newMemoryFile()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(3 << 20); err != nil {
		t.Fatal(err)
	}
	if f, err = sealMemoryFile(f); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, _, err := s.commit(Manifest{Dataset: "a", Snapshot: strings.Repeat("b", 64)}, f); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	if now, err := s.Current("a"); err != nil || now.Snapshot != old.Snapshot {
		t.Fatalf("%+v, %v", now, err)
	}
	if got, err := contents(lease(t, s, old.Snapshot)); err != nil || len(got[0]) != 3000 {
		t.Fatal(err)
	}
	for _, sub := range []string{"staging", "snapshots"} {
		want := map[string]int{"staging": 0, "snapshots": 1}[sub]
		if left, err := os.ReadDir(filepath.Join(dir, "store", sub)); err != nil || len(left) != want {
			t.Errorf("%s: %v, %v", sub, left, err)
		}
	}
	// The control: what fits is taken.
	put(t, s, "c", make([]byte, 1<<20))
}

// TestPrune: old snapshots go, those in force, leased or named stay; what goes is
// gone from disk, memory and volume.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	s, v := volumeStore(t, dir)
	there := func(m Manifest) bool {
		_, err := os.Stat(filepath.Join(dir, "snapshots", m.Snapshot))
		return err == nil
	}
	inForce, old, large := put(t, s, "a", []byte("1")), put(t, s, "b", []byte("2")), put(t, s, "c", make([]byte, 2*testMemory))
	named, leased := put(t, s, "d", []byte("3")), put(t, s, "e", []byte("4"))
	for _, m := range []Manifest{old, large} {
		if err := opens(s, m.Snapshot); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []Manifest{old, large, named, leased} {
		if err := s.swap(m.Dataset, inForce.Snapshot); err != nil { // something newer came into force
			t.Fatal(err)
		}
	}
	l := lease(t, s, leased.Snapshot)
	gone, err := s.Prune(map[string]bool{named.Snapshot: true})
	if err != nil || len(gone) != 2 || there(old) || there(large) || !there(inForce) || !there(named) || !there(leased) {
		t.Fatalf("gone %v, %v", gone, err)
	}
	if len(v.shelf.held) != 0 || s.memory.held[old.Snapshot] != nil {
		t.Error("a pruned snapshot is still open")
	}
	if _, err := contents(l); err != nil {
		t.Fatalf("a lease lost its snapshot: %v", err)
	}
	if err := opens(s, old.Snapshot); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	l.Release()
	if gone, err := s.Prune(nil); err != nil || len(gone) != 2 || !there(inForce) {
		t.Fatalf("gone %v, %v", gone, err)
	}
	if staged, err := os.ReadDir(filepath.Join(dir, "staging")); err != nil || len(staged) != 0 {
		t.Errorf("staging holds %v, %v", staged, err)
	}
	if len(s.leased) != 0 {
		t.Errorf("leases counted: %v", s.leased)
	}
}

// TestSnapshotSwappedUnderALease: a job keeps reading what it leased, whatever
// happens to the files on disk meanwhile.
func TestR34_SnapshotSwappedUnderALease(t *testing.T) {
	for _, size := range []int{1000, 2 * testMemory} { // in memory, on the volume
		dir := t.TempDir()
		s, _ := volumeStore(t, dir)
		a, b := bytes.Repeat([]byte("a"), size), bytes.Repeat([]byte("b"), size)
		m, other := put(t, s, "a", a), put(t, s, "b", b)
		l := lease(t, s, m.Snapshot)
		if _, _, err := l.Open(); err != nil {
			t.Fatal(err)
		}
		at := func(id string) string { return filepath.Join(dir, "snapshots", id) }
		if err := errors.Join(copyFile(at(other.Snapshot), at(m.Snapshot), dataFile), s.swap("a", other.Snapshot)); err != nil {
			t.Fatal(err)
		}
		if got, err := contents(l); err != nil || !bytes.Equal(got[0], a) {
			t.Errorf("%d bytes: the job reads something else, %v", size, err)
		}
		if err := os.RemoveAll(at(m.Snapshot)); err != nil {
			t.Fatal(err)
		}
		if got, err := contents(l); err != nil || !bytes.Equal(got[0], a) {
			t.Errorf("%d bytes: the job lost its snapshot, %v", size, err)
		}
	}
}
