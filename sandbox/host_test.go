package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A poor host lacks something. It is played by a process in namespaces of its
// own, under a system call filter that answers as such a kernel or container does.
const poorHost = "sandgate-test-host"

type hostReport struct {
	Diagnosis Diagnosis
	Full      string
	Container string
	NoHints   bool
}

func refuse(calls map[uint32]unix.Errno) error {
	var p program
	p.stmt(load, offNr)
	for nr, e := range calls {
		p.on(nr, answer(e))
	}
	p.stmt(ret, allow)
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(p)
	if e != 0 {
		return e
	}
	return nil
}

func hostMain(lack string) error {
	var err error
	switch lack {
	case "user namespaces":
		err = os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0)
	case "mount": // AppArmor grants the namespace without its capabilities
		err = refuse(map[uint32]unix.Errno{unix.SYS_MOUNT: unix.EACCES})
	case "pivot_root": // the root is an initramfs
		err = refuse(map[uint32]unix.Errno{unix.SYS_PIVOT_ROOT: unix.EINVAL})
	case "landlock":
		err = refuse(map[uint32]unix.Errno{unix.SYS_LANDLOCK_CREATE_RULESET: unix.EOPNOTSUPP})
	case "landlock in the kernel":
		err = refuse(map[uint32]unix.Errno{unix.SYS_LANDLOCK_CREATE_RULESET: unix.ENOSYS})
	case "swap that is off":
		err = errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "size=64k"),
			os.WriteFile("/tmp/swaps", []byte("Filename Type Size Used Priority\n/dev/sdz2 partition 8388604 0 -2\n"), 0o600), unix.Mount("/tmp/swaps", "/proc/swaps", "", unix.MS_BIND, ""))
	case "room in /tmp":
		err = errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "size=4k"),
			os.WriteFile("/tmp/full", make([]byte, 4096), 0o600))
	case "cgroup v2":
		err = errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("/dev/null", "/proc/self/cgroup", "", unix.MS_BIND, ""))
	case "read-only /tmp":
		ro := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		err = errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &ro))
	}
	if err != nil {
		return err
	}
	var r hostReport
	r.Diagnosis = Diagnose(context.Background(), "")
	for tier, text := range map[Tier]*string{TierFull: &r.Full, TierContainer: &r.Container} {
		p, err := NewPool(context.Background(), Config{Tier: tier})
		if err == nil {
			_ = p.Close()
			continue
		}
		*text = err.Error()
		var layer *LayerError
		if errors.As(err, &layer) && (layer.HintZh == "" || layer.HintEn == "") {
			r.NoHints = true
		}
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// TestPoorHosts: where a layer is missing the tier that needs it refuses to start,
// names the layer and says how to get it; the diagnosis agrees; a tier that does
// not need it still starts, and nothing serves with less.
func TestPoorHosts(t *testing.T) {
	for _, c := range []struct {
		lack            string
		full, container bool   // start
		word            string // in the refusal
		finding         string
	}{
		{"nothing", true, true, "", ""},
		{"user namespaces", false, true, "max_user_namespaces", "user namespaces"},
		{"mount", false, true, "AppArmor", "user namespaces"},
		{"pivot_root", false, true, "switch_root", "tier full"},
		{"landlock", false, false, "lsm=", "landlock"},
		{"landlock in the kernel", false, false, "lsm=", "landlock"},
		{"swap that is off", true, true, "", "swap"},
		{"room in /tmp", true, true, "", ""},
		{"cgroup v2", true, true, "", "cgroup v2"},
		{"read-only /tmp", false, false, "TMPDIR", "temporary directory"},
	} {
		t.Run(c.lack, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Args, cmd.Dir, cmd.Env = []string{poorHost, c.lack}, "/", []string{"TMPDIR=/tmp"}
			root := os.Getuid() == 0
			host := os.Getuid()
			gid := os.Getgid()
			if root {
				host, gid = nobody, nobody
			}
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
				UidMappings: []syscall.SysProcIDMap{{HostID: host, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: gid, Size: 1}},
				GidMappingsEnableSetgroups: root, Credential: &syscall.Credential{NoSetGroups: !root}, Pdeathsig: syscall.SIGKILL,
			}
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			var r hostReport
			if err := json.Unmarshal(out, &r); err != nil {
				t.Fatal(err)
			}
			for tier, starts := range map[Tier]bool{TierFull: c.full, TierContainer: c.container} {
				text := r.Full
				if tier == TierContainer {
					text = r.Container
				}
				if (text == "") != starts || r.Diagnosis.Tiers[tier] != starts {
					t.Errorf("tier %s: starts %v, diagnosis %v, want %v: %s", tier, text == "", r.Diagnosis.Tiers[tier], starts, text)
				}
				if !starts && !strings.Contains(text, c.word) {
					t.Errorf("tier %s: %q does not say %q", tier, text, c.word)
				}
			}
			if r.NoHints {
				t.Error("a refusal without a hint")
			}
			for _, f := range r.Diagnosis.Findings {
				if f.Level == LevelOK && f.Name == c.finding {
					t.Errorf("diagnosis finds nothing wrong with %s", f.Name)
				}
				if f.Level == LevelMissing && c.lack == "nothing" {
					t.Errorf("diagnosis misses %s where nothing is missing: %s", f.Name, f.Found)
				}
			}
		})
	}
}
