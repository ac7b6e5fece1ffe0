package sandbox

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// matrixColumns are the layer sets of the full matrix, weakest first.
var matrixColumns = []arenaColumn{
	{"none", 0},
	{"rlimits+fds", layerLimits},
	{"namespaces", layerNamespaces},
	{"namespaces+pivot", layerNamespaces | layerRoot},
	{"landlock only", layerLandlock},
	{"seccomp only", layerSeccomp},
	{"all but landlock+seccomp", layersFull &^ (layerLandlock | layerSeccomp)},
	{"container tier", layersContainer},
	{"all", layersFull},
}

// TestR01_EscapeSuite: with the layers of a tier no attack gets through, without
// layers every attack but the weak ones does. SANDGATE_ESCAPE=full runs every
// layer set, as an ordinary user and as root of the arena, and prints the tables.
func TestR01_EscapeSuite(t *testing.T) {
	order := arenaOrder{Columns: []arenaColumn{matrixColumns[0], matrixColumns[7], matrixColumns[8]}}
	full := os.Getenv("SANDGATE_ESCAPE") == "full"
	if full {
		order.Columns = matrixColumns
	}
	judge(t, "user", order, full)
	if full {
		judge(t, "root", arenaOrder{Root: true, Columns: matrixColumns[7:]}, true)
	}
}

// stoppedByYama are attacks that this security module refuses by itself.
var stoppedByYama = map[string]bool{"proc_parent_mem": true, "ptrace_parent": true, "process_vm_readv": true,
	"process_vm_writev": true, "pidfd_getfd": true}

// stoppedByHost says whether an attack fails here whatever the layers: under Yama,
// or after a hardened pool in this process gave up core files for good.
func stoppedByHost(name string) bool {
	if name == "core_dump" {
		return hardCore() == 0
	}
	raw, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	return stoppedByYama[name] && err == nil && strings.TrimSpace(string(raw)) != "0"
}

func judge(t *testing.T, who string, order arenaOrder, show bool) {
	fates := runArena(t, order)
	table := map[string]map[string]bool{}
	for _, f := range fates {
		if table[f.Column] == nil {
			table[f.Column] = map[string]bool{}
		}
		table[f.Column][f.Attack] = f.Through
	}
	for _, c := range order.Columns {
		if len(table[c.Name]) != len(attacks) {
			t.Fatalf("%s: %d of %d attacks ran", c.Name, len(table[c.Name]), len(attacks))
		}
		for _, a := range attacks {
			through := table[c.Name][a.name]
			switch c.Set {
			case layersFull, layersContainer:
				if through {
					t.Errorf("%s gets through %q as %s", a.name, c.Name, who)
				}
			case 0:
				if !through && !a.weak && !stoppedByHost(a.name) {
					t.Errorf("positive control: %s fails without any layer, so it proves nothing", a.name)
				}
			}
		}
	}
	t.Log("\n" + summary(who, order.Columns, table))
	if show {
		t.Log("\n" + matrix(order.Columns, table))
	}
}

func summary(who string, columns []arenaColumn, table map[string]map[string]bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-28s 得手 got through (%s, %d attacks)\n", "隔离层 layers", who, len(attacks))
	for _, c := range columns {
		n := 0
		for _, through := range table[c.Name] {
			if through {
				n++
			}
		}
		fmt.Fprintf(&b, "%-30s %3d\n", c.Name, n)
	}
	return b.String()
}

func matrix(columns []arenaColumn, table map[string]map[string]bool) string {
	var b strings.Builder
	for i, c := range columns {
		fmt.Fprintf(&b, "%d = %s\n", i+1, c.Name)
	}
	fmt.Fprintf(&b, "%-26s", "攻击 attack")
	for i := range columns {
		fmt.Fprintf(&b, "%3d", i+1)
	}
	b.WriteByte('\n')
	for _, a := range attacks {
		fmt.Fprintf(&b, "%-28s", a.name)
		for _, c := range columns {
			mark := "·"
			if table[c.Name][a.name] {
				mark = "X"
			}
			fmt.Fprintf(&b, "%s  ", mark)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// TestR01_EveryLayerStopsItsOwn: layers overlap, so one that has gone missing
// could hide behind the others. Each alone stops what it is there for.
func TestR01_EveryLayerStopsItsOwn(t *testing.T) {
	columns := []arenaColumn{
		{"limits", layerLimits},
		{"namespaces", layerNamespaces},
		{"root", layerNamespaces | layerRoot},
		{"capabilities", layerNamespaces | layerCaps},
		{"landlock", layerLandlock},
		{"seccomp", layerSeccomp},
	}
	own := map[string][]string{
		"limits":       {"fd_leak", "mem_lock", "cpu_spin", "flood_result", "disk_fill", "core_dump", "thread_bomb"},
		"namespaces":   {"kill_parent", "prlimit_parent", "process_vm_readv", "ptrace_parent", "pidfd_getfd", "tcp_connect_parent", "udp_send", "unix_abstract"},
		"root":         {"open_etc_passwd", "open_sibling_dataset", "list_root", "write_tmp", "unix_path", "fork_exec_sh", "proc_environ_parent"},
		"capabilities": {"capabilities", "mount_here", "chroot", "set_hostname"},
		"landlock":     {"open_etc_passwd", "open_sibling_dataset", "list_root", "write_tmp", "fork_exec_sh", "rename_dataset", "hard_link"},
		"seccomp":      {"tcp_connect_parent", "memfd_exec", "mmap_exec", "int80_call", "fork_bomb", "userfaultfd", "make_dumpable", "chmod_dataset", "pass_descriptor_up"},
	}
	ran := map[string]bool{}
	for _, f := range runArena(t, arenaOrder{Columns: columns, Only: own}) {
		ran[f.Column+f.Attack] = true
		if f.Through {
			t.Errorf("layer %s alone does not stop %s", f.Column, f.Attack)
		}
	}
	for column, names := range own {
		for _, name := range names {
			if !ran[column+name] {
				t.Errorf("%s × %s did not run", column, name)
			}
		}
	}
}
