package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	landlock "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Level says what a finding means for serving.
type Level string

const (
	LevelOK      Level = "ok"
	LevelAdvice  Level = "advice"  // works, could be better
	LevelMissing Level = "missing" // a tier cannot be served
)

// Finding is one fact about this host. Texts are for operators and hold no data.
type Finding struct {
	Name  string `json:"name"`
	Level Level  `json:"level"`
	Found string `json:"found"`
	FixZh string `json:"fix_zh,omitempty"`
	FixEn string `json:"fix_en,omitempty"`
}

// Diagnosis is what this host offers workers.
type Diagnosis struct {
	Findings []Finding `json:"findings"`
	// Tiers says of each tier whether a canary worker started in it and every
	// probe failed.
	Tiers map[Tier]bool `json:"tiers"`
}

// Diagnose looks at the host and really starts a canary worker of each tier,
// running executable (empty: this program). It changes nothing on the host. Call
// it in a process that has no pool yet.
func Diagnose(ctx context.Context, executable string) Diagnosis {
	d := Diagnosis{Tiers: map[Tier]bool{}}
	d.add(kernelFinding())
	d.add(userNamespaceFinding())
	d.add(landlockFinding())
	d.add(seccompFinding())
	d.add(mdweFinding())
	d.add(cgroupFinding())
	d.add(memlockFinding())
	d.add(appArmorFinding())
	d.add(scratchFinding())
	d.add(memoryFinding())
	d.add(swapFinding())
	for _, tier := range Tiers() {
		begin := time.Now()
		p, err := NewPool(ctx, Config{Executable: executable, Tier: tier})
		f := Finding{Name: "tier " + string(tier), Level: LevelOK}
		if err != nil {
			f.Level, f.Found = LevelMissing, err.Error()
			var layer *LayerError
			if errors.As(err, &layer) {
				f.Found, f.FixZh, f.FixEn = layer.Detail, layer.HintZh, layer.HintEn
			}
		} else {
			f.Found = fmt.Sprintf("canary worker held %d probes, %d ms", len(probes), time.Since(begin).Milliseconds())
			_ = p.Close()
		}
		d.Tiers[tier] = err == nil
		d.add(f)
	}
	return d
}

func (d *Diagnosis) add(f Finding) { d.Findings = append(d.Findings, f) }

func (f Finding) fix(level Level, h hint) Finding {
	f.Level, f.FixZh, f.FixEn = level, h.zh, h.en
	return f
}

func kernelFinding() Finding {
	f := Finding{Name: "kernel", Level: LevelOK}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		f.Found = "unknown"
		return f.fix(LevelAdvice, hint{"无法读取内核版本", "the kernel version cannot be read"})
	}
	release := unix.ByteSliceToString(u.Release[:])
	f.Found = release + " " + runtime.GOARCH
	var major, minor int
	_, _ = fmt.Sscanf(release, "%d.%d", &major, &minor)
	if major < 5 || major == 5 && minor < 13 {
		return f.fix(LevelMissing, hint{"升级到 Linux 5.13 或更新（建议 6.6 以上）", "upgrade to Linux 5.13 or later (6.6 or later recommended)"})
	}
	if runtime.GOARCH != "amd64" {
		return f.fix(LevelMissing, hint{"只有 amd64 有审定过的系统调用表；请用 amd64 主机", "only amd64 has a reviewed system call table; use an amd64 host"})
	}
	return f
}

// userNamespaceFinding tries one: a sysctl alone says nothing (AppArmor may
// grant the namespace and withhold its capabilities).
func userNamespaceFinding() Finding {
	f := Finding{Name: "user namespaces", Level: LevelOK, Found: "created one"}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args, cmd.Env = []string{canaryName, "namespace"}, workerEnv()
	cmd.SysProcAttr = attributes(layerNamespaces)
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		f.Found = "created, but mounting inside is refused"
		return f.fix(LevelMissing, hintMount)
	case err != nil:
		f.Found = layerError("refused", errors.Unwrap(err)).Error()
		return f.fix(LevelMissing, hintUserNS)
	}
	return f
}

// canaryName is argv[0] of the process that tries a namespace for Diagnose.
const canaryName = "sandgate-canary"

// canary mounts a tmpfs in its own mount namespace and says by its exit status
// whether that worked.
func canary() int {
	if unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") != nil {
		return 1
	}
	if unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "size=64k") != nil && unix.Mount("tmpfs", "/proc", "tmpfs", 0, "size=64k") != nil {
		return 1
	}
	return 0
}

func landlockFinding() Finding {
	f := Finding{Name: "landlock", Level: LevelOK}
	abi, err := landlock.LandlockGetABIVersion()
	if err != nil {
		f.Found = layerError("absent", err).Error()
		return f.fix(LevelMissing, hintLandlock)
	}
	f.Found = "ABI " + strconv.Itoa(abi)
	if abi < 6 {
		return f.fix(LevelAdvice, hint{
			"ABI 6（Linux 6.12）起还能限制抽象套接字和信号；container 等级在更旧内核上只靠 seccomp 拦截它们",
			"ABI 6 (Linux 6.12) also scopes abstract sockets and signals; on older kernels the container tier relies on seccomp alone for them"})
	}
	return f
}

func seccompFinding() Finding {
	f := Finding{Name: "seccomp", Level: LevelOK, Found: "KILL_PROCESS available"}
	action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	if err := seccompActionAvailable(&action); err != nil {
		f.Found = layerError("absent", err).Error()
		return f.fix(LevelMissing, hintSeccomp)
	}
	return f
}

func mdweFinding() Finding {
	f := Finding{Name: "memory-deny-write-execute", Level: LevelOK, Found: "available"}
	if _, err := unix.PrctlRetInt(unix.PR_GET_MDWE, 0, 0, 0, 0); err != nil {
		f.Found = "absent"
		return f.fix(LevelAdvice, hint{"Linux 6.3 起可用；此前仅由 seccomp 拒绝可执行内存", "comes with Linux 6.3; before that seccomp alone refuses executable memory"})
	}
	return f
}

// cgroupFinding looks without moving this process: a gateway that finds the same
// enters the subtree when it starts.
func cgroupFinding() Finding {
	f := Finding{Name: "cgroup v2", Level: LevelOK}
	g, err := findGroups("/proc/self")
	if err == nil {
		f.Found = "delegated: " + strings.Join(g.controllers, " ")
		return f
	}
	f.Found = "not used: " + err.Error()
	return f.fix(LevelAdvice, hint{
		"不是必需：内存由 RLIMIT_DATA 与看门狗限制。要为每个工作进程另加 cgroup 限制（含内核内存、禁止换出），以 systemd 服务运行并设 Delegate=memory pids cpu（见 docs/deploy/sandgate.service）",
		"not needed: RLIMIT_DATA and a watchdog bound memory. For a control group of each worker's own (counts kernel memory, keeps it out of swap) run as a systemd service with Delegate=memory pids cpu (see docs/deploy/sandgate.service)"})
}

func memlockFinding() Finding {
	f := Finding{Name: "memlock", Level: LevelOK}
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err != nil {
		f.Found = "unknown"
		return f
	}
	f.Found = strconv.FormatUint(l.Cur>>10, 10) + " KiB"
	if l.Cur == ^uint64(0) {
		f.Found = "unlimited"
	}
	if l.Cur < 64<<10 {
		return f.fix(LevelAdvice, hint{"密钥页无法锁定在内存中：设 LimitMEMLOCK=8M（systemd）或 ulimit -l 8192", "key pages cannot be locked into memory: set LimitMEMLOCK=8M (systemd) or ulimit -l 8192"})
	}
	return f
}

func appArmorFinding() Finding {
	f := Finding{Name: "AppArmor restriction of user namespaces", Level: LevelOK, Found: "none"}
	raw, err := os.ReadFile("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
	if err == nil && strings.TrimSpace(string(raw)) != "0" {
		f.Found = "on"
		return f.fix(LevelAdvice, hintUserNS)
	}
	return f
}

func scratchFinding() Finding {
	f := Finding{Name: "temporary directory", Level: LevelOK, Found: os.TempDir()}
	file, err := probeFile()
	if err != nil {
		f.Found += ": not writable"
		return f.fix(LevelMissing, hint{"自检需要一个可写目录：设 TMPDIR 或挂载 tmpfs", "the self-test needs a writable directory: set TMPDIR or mount a tmpfs"})
	}
	_ = file.Close()
	_ = os.Remove(file.Name())
	return f
}

// memoryWanted is what two warm workers, one job and the gateway take.
const memoryWanted = 2 << 30

func memoryFinding() Finding {
	f := Finding{Name: "memory", Level: LevelOK, Found: "unknown"}
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return f
	}
	total := uint64(info.Totalram) * uint64(info.Unit)
	f.Found = strconv.FormatUint(total>>20, 10) + " MiB"
	if total < memoryWanted {
		return f.fix(LevelAdvice, hint{"少于 2 GiB：快照与作业会因内存不足被拒绝", "less than 2 GiB: snapshots and jobs will be refused for want of memory"})
	}
	return f
}

// swapFinding looks for devices that memory can be written to.
func swapFinding() Finding {
	f := Finding{Name: "swap", Level: LevelOK, Found: "none"}
	raw, err := os.ReadFile("/proc/swaps")
	n := strings.Count(strings.TrimSpace(string(raw)), "\n") // the first line is a heading
	if err != nil {
		f.Found = "unknown"
	} else if n > 0 {
		f.Found = strconv.Itoa(n) + " in use"
	} else {
		return f
	}
	return f.fix(LevelAdvice, hint{
		"内存中的解密快照可能被换出到磁盘：关闭或加密交换区，或以 MemorySwapMax=0 运行（见 docs/deploy/sandgate.service）",
		"memory that holds decrypted snapshots can reach a disk: turn swap off or encrypt it, or run with MemorySwapMax=0 (see docs/deploy/sandgate.service)"})
}
