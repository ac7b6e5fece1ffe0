package engine

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Volume is a directory on an encrypted file system in which snapshots that do
// not fit into memory are opened, and ingests written: as files that never have
// a name, so that nothing on the host but the gateway and the workers it hands a
// descriptor to can reach them, and a crash leaves none behind. Its methods are
// safe for concurrent use.
type Volume struct {
	dir  string
	kind string
	// shelf keeps track of what is opened; its bytes are bounded by the file
	// system alone.
	shelf *memory
}

// Names of file systems and devices that OpenVolume knows to be encrypted.
const (
	KindDMCrypt = "dm-crypt"
	KindFSCrypt = "fscrypt"
	KindTmpfs   = "tmpfs" // memory; as encrypted as the host's swap
)

// File system types (statfs(2)).
const (
	typeTmpfs = 0x01021994
	typeRamfs = 0x858458f6
)

// declaredName is what a declared encryption may be called.
var declaredName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 _.:/-]*$`)

// OpenVolume prepares dir, an existing directory of this user's alone. It refuses
// one that does not lie on an encrypted file system. Encryption below what the
// kernel shows (a self-encrypting disk, a hypervisor's volume) must be declared by
// name: declared then goes to the ledger as Kind; empty declares nothing.
func OpenVolume(dir, declared string) (*Volume, error) {
	return openVolume(dir, declared, "/sys/dev/block")
}

// openVolume takes the place of the kernel's list of block devices.
func openVolume(dir, declared, devices string) (*Volume, error) {
	if declared != "" && (len(declared) > 64 || !declaredName.MatchString(declared)) {
		return nil, errors.New("failed to open volume for large snapshots: the name of its encryption must be 1 to 64 plain letters, digits, spaces or _.:/-" +
			" · 加密方式名称须为 1 至 64 个字母、数字、空格或 _.:/-")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("failed to open volume for large snapshots: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, fmt.Errorf("failed to open volume for large snapshots %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&0o077 != 0 || int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("failed to open volume for large snapshots: %s must be a directory of the gateway's user with mode 0700 · 须是网关用户所有、权限 0700 的目录", dir)
	}
	kind, err := encryption(dir, devices, st.Dev)
	if err != nil {
		return nil, err
	}
	switch {
	case kind == "" && declared == "":
		return nil, fmt.Errorf("failed to open volume for large snapshots: %s is not on an encrypted file system that this host can tell of; "+
			"use a dm-crypt (LUKS) device, fscrypt or tmpfs, or declare encryption that lies outside with --large-snapshots-volume-encrypted-by NAME"+
			" · 目录所在文件系统看不出已加密；请使用 dm-crypt（LUKS）、fscrypt 或 tmpfs，或用 --large-snapshots-volume-encrypted-by 声明外部加密", dir)
	case kind == "":
		kind = "declared:" + declared
	}
	v := &Volume{dir: dir, kind: kind, shelf: newMemory(math.MaxInt64 / 4)}
	// What cannot be written now is a refusal to start, not of the first job.
	f, err := v.create(1)
	if err != nil {
		return nil, err
	}
	return v, f.Close()
}

// Kind says what encrypts the volume: one of the Kind constants, or "declared:"
// and the name that was declared.
func (v *Volume) Kind() string { return v.kind }

// encryption says how the file system of dir is encrypted, or "".
func encryption(dir, devices string, dev uint64) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("failed to inspect volume for large snapshots: %w", err)
	}
	if t := uint32(fs.Type); t == typeTmpfs || t == typeRamfs {
		return KindTmpfs, nil
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_BASIC_STATS, &st); err == nil && st.Attributes_mask&st.Attributes&unix.STATX_ATTR_ENCRYPTED != 0 {
		return KindFSCrypt, nil
	}
	if encryptedDevice(filepath.Join(devices, fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))), 0) {
		return KindDMCrypt, nil
	}
	return "", nil
}

// cryptTargets are the beginnings of device mapper ids that cryptsetup gives to
// devices that encrypt. CRYPT-VERITY and CRYPT-INTEGRITY are its, too, and do not.
var cryptTargets = []string{"CRYPT-LUKS1-", "CRYPT-LUKS2-", "CRYPT-PLAIN-", "CRYPT-TCRYPT-", "CRYPT-LOOPAES-", "CRYPT-BITLK-", "CRYPT-FVAULT2-"}

// encryptedDevice says whether all that is written to a block device passes
// through dm-crypt: the device itself, the disk of a partition, or every device
// below it (LVM, RAID).
func encryptedDevice(dev string, depth int) bool {
	if depth > 8 {
		return false
	}
	real, err := filepath.EvalSymlinks(dev)
	if err != nil {
		return false // not a block device: btrfs, overlayfs, a network
	}
	if id, err := os.ReadFile(filepath.Join(real, "dm", "uuid")); err == nil {
		if slices.ContainsFunc(cryptTargets, func(prefix string) bool { return strings.HasPrefix(string(id), prefix) }) {
			return true
		}
	}
	if _, err := os.Stat(filepath.Join(real, "partition")); err == nil {
		return encryptedDevice(filepath.Dir(real), depth+1)
	}
	below, err := os.ReadDir(filepath.Join(real, "slaves"))
	if err != nil || len(below) == 0 {
		return false
	}
	for _, d := range below {
		if !encryptedDevice(filepath.Join(real, "slaves", d.Name()), depth+1) {
			return false
		}
	}
	return true
}

// create makes an empty nameless file with room for size bytes. Without room the
// error is *TooLarge.
func (v *Volume) create(size int64) (*os.File, error) {
	f, err := nameless(v.dir)
	if err != nil {
		return nil, fmt.Errorf("failed to create file on the volume for large snapshots: %w", err)
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = v.room(size)
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		free, _ := v.free()
		err = &TooLarge{Need: size, Limit: free, Volume: true}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// nameless makes a file that has no name and, being exclusive, can be given none.
// Only its owner could open it again, through /proc and for reading.
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o400)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return nil, errors.New("its file system has no nameless files (O_TMPFILE): use ext4, xfs, btrfs, f2fs or tmpfs · 文件系统不支持 O_TMPFILE")
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "volume"), nil
}

func (v *Volume) free() (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(v.dir, &fs); err != nil {
		return 0, fmt.Errorf("failed to inspect volume for large snapshots: %w", err)
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}

// room returns *TooLarge when fewer than size bytes are free.
func (v *Volume) room(size int64) error {
	free, err := v.free()
	if err == nil && free < size {
		err = &TooLarge{Need: size, Limit: free, Volume: true}
	}
	return err
}

// reserve makes the file of a pinned snapshot before anything is charged for it.
// Snapshots that no lease holds go when the file system is full.
func (v *Volume) reserve(r *resident) error {
	r.reserved.Do(func() {
		r.draft, r.draftErr = v.create(r.size)
		var full *TooLarge
		if errors.As(r.draftErr, &full) && v.shelf.clear() {
			r.draft, r.draftErr = v.create(r.size)
		}
		if r.draftErr != nil {
			v.shelf.forget(r)
		}
	})
	return r.draftErr
}

// keep makes an opened snapshot of an ingested file that does not fit into
// memory; one that does is opened there by its first job.
func (v *Volume) keep(id string, data *os.File, memory int64) {
	info, err := data.Stat()
	if err != nil || pages(info.Size()) <= memory || v.shelf.claim(pages(info.Size())) != nil {
		_ = data.Close()
		return
	}
	v.shelf.adopt(id, data, pages(info.Size()))
}

// freezeVolumeFile closes f, the only description that can write its file, and
// returns one that cannot.
func freezeVolumeFile(f *os.File) (*os.File, error) {
	defer f.Close()
	again, err := reopen([]*os.File{f})
	if err != nil {
		return nil, err
	}
	return again[0], nil
}
