package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sandgate/sandgate/gateway/home/vault/vaulttest"
)

// scripts runs the scripts of a pattern under testdata/script with the commands
// below.
func scripts(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "script", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts match %s: %v", pattern, err)
	}
	testscript.Run(t, testscript.Params{
		Files: files, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("ROOT", root)
			e.Setenv("TESTDATA", filepath.Join(root, "testdata"))
			file, _ := realData()
			e.Setenv("REAL_DATA", file)
			e.Values[runKey{}] = &playing{}
			return nil
		},
		Condition: storyCondition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"city": cmdCity, "authority": cmdAuthority, "table": cmdTable, "place": cmdPlace, "gateway": cmdGateway, "exits": cmdExits,
			"pick": cmdPick, "jsonvar": cmdJSONVar, "damage": cmdDamage, "resize": cmdResize, "barrage": cmdBarrage,
			"edit": cmdEdit, "stalled": cmdStalled, "leakfree": cmdLeakfree, "opened": cmdOpened, "stored": cmdStored, "fill": cmdFill, "heard": cmdHeard, "unzipped": cmdUnzipped,
			"cells":   cmdCells,
			"watcher": cmdWatcher, "until": cmdUntil,
			"vaultserver": cmdVaultServer(t),
			"objectstore": cmdObjectStore,
			"ciphers":     cmdCiphers,
		},
	})
}

// playing is what one script has running.
type playing struct {
	gateway *serving
	shots   *shooting
	orphan  *shot
	stalls  map[string]*stall
	vault   *vaulttest.Server
	// watchers are the witnesses that run, by name.
	watchers map[string]*watching
}

type runKey struct{}

func playingOf(ts *testscript.TestScript) *playing { return ts.Value(runKey{}).(*playing) }

// environ is the script's environment for processes that a command starts.
func environ(ts *testscript.TestScript) []string {
	env := []string{"HOME=" + ts.Getenv("HOME"), "TMPDIR=" + ts.Getenv("TMPDIR"), "PATH=" + ts.Getenv("PATH")}
	for _, k := range []string{"SANDGATE_SERVER", "SANDGATE_KIT", "SANDGATE_UNLOCK_KEY", "LANG"} {
		if v := ts.Getenv(k); v != "" {
			env = append(env, k+"="+v)
		}
	}
	return env
}

func noNeg(ts *testscript.TestScript, neg bool) {
	if neg {
		ts.Fatalf("this command cannot be negated")
	}
}

func args(ts *testscript.TestScript, got []string, usage string, least, most int) {
	if len(got) < least || most >= 0 && len(got) > most {
		ts.Fatalf("usage: %s", usage)
	}
}

// unzipped FILE NAME OUT takes one file out of a ZIP.
func cmdUnzipped(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "unzipped FILE NAME OUT", 3, 3)
	z, err := zip.OpenReader(ts.MkAbs(a[0]))
	ts.Check(err)
	defer z.Close()
	f, err := z.Open(a[1])
	ts.Check(err)
	text, err := io.ReadAll(f)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(a[2]), text, 0o600))
}

// city lays a copy of the template into the working directory: home, kits, the
// bundles as they were signed, the raw tables.
func cmdCity(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "city", 0, 0)
	ts.Check(copyCity(ts.MkAbs(".")))
}

// table NAME FILE [RESIDENTS] writes a raw table of the city.
func cmdTable(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "table NAME FILE [RESIDENTS]", 2, 3)
	n := residents
	if len(a) == 3 {
		var err error
		n, err = strconv.Atoi(a[2])
		ts.Check(err)
	}
	ts.Check(writeTable(a[0], ts.MkAbs(a[1]), n))
}

// place FROM TO KITS copies a policy file with the kits' public keys in it.
func cmdPlace(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "place FROM TO KITS", 3, 3)
	ts.Check(placed(ts.MkAbs(a[0]), ts.MkAbs(a[1]), ts.MkAbs(a[2])))
}

// gateway start HOME | stop | kill | killworkers. start sets SANDGATE_SERVER; all
// output of all starts is in gateway.log.
func cmdGateway(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "gateway start HOME [FLAG...] | stop | kill | killworkers", 1, -1)
	p := playingOf(ts)
	switch a[0] {
	case "start":
		args(ts, a, "gateway start HOME [FLAG...]", 2, -1)
		if p.gateway != nil {
			ts.Fatalf("a gateway is running already")
		}
		s, err := serve(environ(ts), ts.MkAbs("."), a[1], filepath.Join(ts.Getenv("WORK"), "gateway.log"), a[2:]...)
		ts.Check(err)
		p.gateway = s
		ts.Setenv("SANDGATE_SERVER", s.addr)
		ts.Defer(func() {
			if p.gateway == s {
				p.gateway = nil
				_ = s.end(os.Kill)
			}
		})
	case "stop", "kill":
		if p.gateway == nil {
			ts.Fatalf("no gateway is running")
		}
		s := p.gateway
		p.gateway = nil
		sig := os.Signal(syscall.SIGTERM)
		if a[0] == "kill" {
			sig = os.Kill
		}
		ts.Check(s.end(sig))
	case "killworkers":
		// A worker that is still being started would be killed before it has
		// anything to lose; on a busy machine one may be all the same.
		time.Sleep(500 * time.Millisecond)
		// The gateway's child is the spawner; the workers are the spawner's.
		killed := 0
		for spawner := range childrenOf(p.gateway.cmd.Process.Pid) {
			for pid := range childrenOf(spawner) {
				// A worker may have ended by itself since it was listed.
				if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
					killed++
				}
			}
		}
		if killed == 0 {
			ts.Fatalf("the gateway has no workers")
		}
	default:
		ts.Fatalf("unknown gateway command %q", a[0])
	}
}

// exits CODE PROGRAM ARG... runs a program and wants exactly that exit code.
func cmdExits(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "exits CODE PROGRAM [ARG...]", 2, -1)
	want, err := strconv.Atoi(a[0])
	ts.Check(err)
	err = ts.Exec(a[1], a[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d\n[stdout]\n%s[stderr]\n%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// heard is exits, and keeps all the program said in the directory seen.
func cmdHeard(ts *testscript.TestScript, neg bool, a []string) {
	cmdExits(ts, neg, a)
	f, err := os.OpenFile(ts.MkAbs("seen/heard"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer f.Close()
	_, err = f.WriteString(ts.ReadFile("stdout") + ts.ReadFile("stderr"))
	ts.Check(err)
}

// field walks decoded JSON by a dotted path.
func field(text []byte, path string) (any, error) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	for _, part := range strings.Split(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			next, ok := at[part]
			if !ok {
				return nil, fmt.Errorf("no %q in %s", part, path)
			}
			v = next
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil || n < 0 || n >= len(at) {
				return nil, fmt.Errorf("no element %q in %s", part, path)
			}
			v = at[n]
		default:
			return nil, fmt.Errorf("nothing below %q in %s", part, path)
		}
	}
	return v, nil
}

// pick OUT FILE PATH writes a part of a JSON file, canonically.
func cmdPick(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "pick OUT FILE PATH", 3, 3)
	v, err := field([]byte(ts.ReadFile(a[1])), a[2])
	ts.Check(err)
	text, err := json.MarshalIndent(v, "", " ")
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(a[0]), append(text, '\n'), 0o600))
}

// jsonvar VAR FILE PATH sets a variable to a part of a JSON file; negated, it
// wants the part not to be there.
func cmdJSONVar(ts *testscript.TestScript, neg bool, a []string) {
	args(ts, a, "jsonvar VAR FILE PATH", 3, 3)
	v, err := field([]byte(ts.ReadFile(a[1])), a[2])
	if neg {
		if err == nil {
			ts.Fatalf("%s is there: %v", a[2], v)
		}
		return
	}
	ts.Check(err)
	ts.Setenv(a[0], fmt.Sprint(v))
}

// damage FILE... flips one bit in the middle of each file.
func cmdDamage(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "damage FILE...", 1, -1)
	for _, name := range a {
		files, err := filepath.Glob(ts.MkAbs(name))
		ts.Check(err)
		if len(files) == 0 {
			ts.Fatalf("no file %s", name)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			ts.Check(err)
			info, err := os.Stat(f)
			ts.Check(err)
			text[len(text)/2] ^= 1
			ts.Check(os.Chmod(f, 0o600))
			ts.Check(os.WriteFile(f, text, 0o600))
			ts.Check(os.Chmod(f, info.Mode().Perm()))
		}
	}
}

// resize FILE BYTES cuts a file; a negative number cuts so much off its end.
func cmdResize(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "resize FILE BYTES", 2, 2)
	n, err := strconv.ParseInt(a[1], 10, 64)
	ts.Check(err)
	if n < 0 {
		info, err := os.Stat(ts.MkAbs(a[0]))
		ts.Check(err)
		n += info.Size()
	}
	ts.Check(os.Truncate(ts.MkAbs(a[0]), n))
}

// unescaped reads Go escapes such as \n, \x00 and \u202e.
func unescaped(ts *testscript.TestScript, s string) string {
	out, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	ts.Check(err)
	return out
}

// edit FROM TO OLD NEW copies a text file with OLD replaced by NEW, both with Go
// escapes. OLD must be there.
func cmdEdit(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "edit FROM TO OLD NEW", 4, 4)
	text, old := ts.ReadFile(a[0]), unescaped(ts, a[2])
	if !strings.Contains(text, old) {
		ts.Fatalf("%s does not hold %q", a[0], old)
	}
	ts.Check(os.WriteFile(ts.MkAbs(a[1]), []byte(strings.ReplaceAll(text, old, unescaped(ts, a[3]))), 0o600))
}

// fill FILE [COUNT TEXT]... writes a file of repeated texts with Go escapes.
func cmdFill(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	if len(a)%2 != 1 {
		ts.Fatalf("usage: fill FILE [COUNT TEXT]...")
	}
	var out bytes.Buffer
	for i := 1; i < len(a); i += 2 {
		n, err := strconv.Atoi(a[i])
		ts.Check(err)
		out.WriteString(strings.Repeat(unescaped(ts, a[i+1]), n))
	}
	ts.Check(os.WriteFile(ts.MkAbs(a[0]), out.Bytes(), 0o600))
}
