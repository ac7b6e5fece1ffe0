package sandbox

import (
	"strings"
)

// layer is a set of the jail's parts. Production uses the sets of the tiers; the
// escape suite takes parts away to show what each of them stops.
type layer uint

const (
	// layerLimits: resource limits, closed descriptors, wall clock, result cap,
	// and the watchdog over memory and threads.
	layerLimits layer = 1 << iota
	layerNamespaces
	layerRoot // an empty read-only root; needs layerNamespaces
	layerCaps // no capabilities, locked securebits
	layerLandlock
	layerSeccomp
)

const (
	layersFull      = layerLimits | layerNamespaces | layerRoot | layerCaps | layerLandlock | layerSeccomp
	layersContainer = layerLimits | layerCaps | layerLandlock | layerSeccomp
)

// has says whether every part of l is in the set.
func (set layer) has(l layer) bool { return set&l == l }

// Tier is how much isolation a pool asks for. Nothing below the two exists.
type Tier string

const (
	// TierFull is the default: namespaces, an empty root, Landlock, seccomp,
	// resource limits, no capabilities.
	TierFull Tier = "full"
	// TierContainer leaves the namespaces and the empty root out, for hosts
	// (mostly containers) that do not grant user namespaces. Landlock, seccomp
	// and the limits stay mandatory. It must be asked for by name.
	TierContainer Tier = "container"
	// tierNone is the positive control of the tests. It is not exported and
	// NewPool refuses it.
	tierNone Tier = "none"
)

// Tiers lists what a pool can be asked for, strongest first.
func Tiers() []Tier { return []Tier{TierFull, TierContainer} }

// layers returns the tier's set, and false for a tier that does not exist.
func (t Tier) layers() (layer, bool) {
	switch t {
	case TierFull:
		return layersFull, true
	case TierContainer:
		return layersContainer, true
	case tierNone:
		return 0, true
	}
	return 0, false
}

// LayerError is a refusal to start: a layer of the tier is missing on this host
// or did not hold. Its texts name the layer and how to get it; Detail was
// written before any data existed.
type LayerError struct {
	Tier   Tier
	Detail string // layer and what the kernel answered
	HintZh string
	HintEn string
}

func (e *LayerError) Error() string {
	return "failed to start isolated worker (tier " + string(e.Tier) + "): " + e.Detail +
		"; to fix it: " + e.HintEn + " · 隔离工作进程无法启动（等级 " + string(e.Tier) + "）: " + e.Detail + "；解决办法: " + e.HintZh
}

// hint is how to get a layer, in both languages.
type hint struct{ zh, en string }

// Hints by layer; diagnosis and refusals say the same.
var (
	hintUserNS = hint{
		"允许本程序使用用户命名空间：sysctl -w user.max_user_namespaces=15000；旧 Debian 内核另需 sysctl -w kernel.unprivileged_userns_clone=1；" +
			"Ubuntu 23.10 及以后为本程序安装含 `userns,` 的 AppArmor 配置（见 docs/sandbox.md）；Docker 加 --security-opt seccomp=<允许 clone、mount、pivot_root 的配置> --security-opt apparmor=unconfined；" +
			"做不到时用 --isolation container 明确要求容器等级",
		"grant this program user namespaces: sysctl -w user.max_user_namespaces=15000; older Debian kernels also need sysctl -w kernel.unprivileged_userns_clone=1; " +
			"on Ubuntu 23.10 or later install an AppArmor profile with `userns,` (see docs/sandbox.md); in Docker add --security-opt seccomp=<a profile that permits clone, mount and pivot_root> --security-opt apparmor=unconfined; " +
			"where that is impossible ask for the container tier by name with --isolation container",
	}
	hintMount = hint{
		"用户命名空间里不能挂载：Ubuntu 上安装含 `userns,` 的 AppArmor 配置；Docker 加 --security-opt apparmor=unconfined 并使用允许 mount、pivot_root 的 seccomp 配置；" +
			"若根目录是 initramfs（pivot_root 返回 EINVAL），先 switch_root 到真正的根文件系统；做不到时用 --isolation container",
		"mounting inside a user namespace is refused: on Ubuntu install an AppArmor profile with `userns,`; in Docker add --security-opt apparmor=unconfined and a seccomp profile that permits mount and pivot_root; " +
			"if the root is an initramfs (pivot_root answers EINVAL) switch_root to a real file system first; otherwise ask for --isolation container",
	}
	hintGroups = hint{
		"已委派的 cgroup 子树无法使用：检查服务单元的 Delegate=memory pids cpu 与父组的 pids.max、cgroup.max.descendants",
		"the delegated cgroup subtree cannot be used: see to Delegate=memory pids cpu in the unit, and to pids.max and cgroup.max.descendants of its parents",
	}
	hintLandlock = hint{
		"使用 Linux 5.13 或更新内核，CONFIG_SECURITY_LANDLOCK=y，并在启动参数 lsm= 列表中加入 landlock；Docker 的 seccomp 配置须允许 landlock_create_ruleset、landlock_add_rule、landlock_restrict_self",
		"use Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK=y and landlock in the lsm= boot list; a Docker seccomp profile must permit landlock_create_ruleset, landlock_add_rule and landlock_restrict_self",
	}
	hintSeccomp = hint{
		"使用 CONFIG_SECCOMP_FILTER=y 的内核（Linux 4.14 或更新，amd64），外层过滤器须允许 seccomp 系统调用",
		"use a kernel with CONFIG_SECCOMP_FILTER=y (Linux 4.14 or later, amd64); an outer filter must permit the seccomp system call",
	}
	hintLimits = hint{
		"外层过滤器须允许 setrlimit/prlimit64 与 close_range（Linux 5.11 或更新）",
		"an outer filter must permit setrlimit/prlimit64 and close_range (Linux 5.11 or later)",
	}
	hintCaps = hint{
		"外层过滤器须允许 prctl 与 capset",
		"an outer filter must permit prctl and capset",
	}
	hintProbe = hint{
		"探针得手说明该层在本机无效，不要在这台主机上提供服务；运行 sandgate doctor 查看缺失项",
		"a probe that gets through means the layer is void here; do not serve on this host; run sandgate doctor to see what is missing",
	}
)

// missing builds the refusal whose hint fits the layer named first in detail.
func missing(tier Tier, detail string) *LayerError {
	h := hintProbe
	for _, c := range []struct {
		prefix string
		hint   hint
	}{
		{"user namespace", hintUserNS}, {"uts namespace", hintMount}, {"mount namespace", hintMount}, {"pivot_root", hintMount},
		{"read-only root", hintMount}, {"shared libraries", hintMount}, {"landlock", hintLandlock}, {"seccomp", hintSeccomp},
		{"rlimits", hintLimits}, {"descriptors", hintLimits}, {"capabilities", hintCaps}, {"no_new_privs", hintCaps},
		{"cgroup", hintGroups},
	} {
		if strings.HasPrefix(detail, c.prefix) {
			h = c.hint
			break
		}
	}
	return &LayerError{Tier: tier, Detail: detail, HintZh: h.zh, HintEn: h.en}
}
