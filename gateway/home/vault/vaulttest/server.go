// Package vaulttest runs a real Vault server for tests: on the loopback, with a
// storage in a directory, so that it can be sealed, killed and started again. The
// server is a program of its own; see .ci/vault.sh.
package vaulttest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sandgate/sandgate/gateway/home/vault"
)

// Version of the server that .ci/vault.sh builds.
const Version = "v1.21.2"

// Binary finds the server: VAULT_BIN, what .ci/vault.sh built, or vault on PATH.
func Binary() (string, error) {
	if b := os.Getenv("VAULT_BIN"); b != "" {
		return b, nil
	}
	if cache, err := os.UserCacheDir(); err == nil {
		built := filepath.Join(cache, "sandgate", "vault", "vault-"+Version)
		if _, err := os.Stat(built); err == nil {
			return built, nil
		}
	}
	return exec.LookPath("vault")
}

// Server is a running server with transit and AppRole. Its methods fail the test
// they are given.
type Server struct {
	Dir    string
	Addr   string
	bin    string
	cmd    *exec.Cmd
	unseal string
	root   string
	log    *os.File
}

// policy is the least that a gateway needs, as docs/keys.md has it.
const policy = `
path "transit/encrypt/sandgate-storage" { capabilities = ["update"] }
path "transit/decrypt/sandgate-storage" { capabilities = ["update"] }
path "transit/keys/sandgate-storage" { capabilities = ["read"] }
path "transit/keys/sandgate-storage/rotate" { capabilities = ["update"] }
`

// Start makes a server with a storage of its own, TLS, a transit key and an
// AppRole whose tokens live for ttl. Without a program the test is skipped, and
// with CI=true or SANDGATE_NEED_VAULT=1 it fails.
func Start(t testing.TB, ttl time.Duration) *Server {
	t.Helper()
	bin, err := Binary()
	if err != nil {
		text := "没有 Vault 服务器，跳过 · NO VAULT SERVER: SKIPPED; build one with: make vault"
		if os.Getenv("CI") == "true" || os.Getenv("SANDGATE_NEED_VAULT") == "1" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	s := &Server{Dir: t.TempDir(), bin: bin}
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	s.Run(t)
	t.Cleanup(func() {
		if s.cmd != nil {
			s.Kill(t)
		}
		_ = s.log.Close()
	})
	if err := s.initialise(ttl); err != nil {
		t.Fatalf("failed to set Vault up: %v", err)
	}
	return s
}

// pickPort takes a free port below those that the kernel hands out: a killed server
// comes back on the same one, which nobody else may be given meanwhile.
func (s *Server) pickPort() error {
	var err error
	for range 100 {
		var lis net.Listener
		if lis, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+mathrand.IntN(10_000))); err == nil {
			s.Addr = lis.Addr().String()
			return lis.Close()
		}
	}
	return err
}

// prepare writes certificate and configuration.
func (s *Server) prepare() error {
	if err := s.pickPort(); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "vault test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	conf := fmt.Sprintf("storage \"raft\" {\n  path = %q\n  node_id = \"one\"\n}\ncluster_addr = \"https://127.0.0.1:0\"\nlistener \"tcp\" {\n  address = %q\n  tls_cert_file = %q\n  tls_key_file = %q\n}\ndisable_mlock = true\napi_addr = \"https://%s\"\n",
		filepath.Join(s.Dir, "data"), s.Addr, s.path("ca.pem"), s.path("server.key"), s.Addr)
	if s.log, err = os.Create(s.path("vault.log")); err != nil {
		return err
	}
	if err := os.MkdirAll(s.path("data"), 0o700); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(s.path("ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(s.path("server.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600),
		os.WriteFile(s.path("vault.hcl"), []byte(conf), 0o600),
	)
}

func (s *Server) path(name string) string { return filepath.Join(s.Dir, name) }

// Run starts the program; it comes up sealed unless it was never initialised.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(s.bin, "server", "-config", s.path("vault.hcl"))
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.Dir, s.log, s.log
	s.cmd.Env = append(os.Environ(), "VAULT_TOKEN=", "HOME="+s.Dir)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The kernel sends that signal when the thread that forked ends, not the process:
	// one that the runtime retires would take the server along.
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- s.cmd.Start()
		<-t.Context().Done()
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", s.Addr, time.Second)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(s.path("vault.log"))
			t.Fatalf("Vault did not start: %v\n%s", err, bytes.TrimSpace(text))
		}
	}
}

// Kill ends the program as a power failure does.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Pause stops the program from answering without closing its port.
func (s *Server) Pause(t testing.TB) {
	s.signal(t, syscall.SIGSTOP)
	time.Sleep(50 * time.Millisecond) // until every thread has stopped
}

// Resume ends a Pause.
func (s *Server) Resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// admin is a client of whoever runs the server.
func (s *Server) admin() (*api.Client, error) {
	conf := api.DefaultConfig()
	conf.Address, conf.MaxRetries, conf.Timeout = "https://"+s.Addr, 0, 20*time.Second
	if err := conf.ConfigureTLS(&api.TLSConfig{CACert: s.path("ca.pem")}); err != nil {
		return nil, err
	}
	c, err := api.NewClient(conf)
	if err == nil {
		c.SetToken(s.root)
	}
	return c, err
}

// Do runs f as the administrator.
func (s *Server) Do(t testing.TB, f func(c *api.Client) error) {
	t.Helper()
	c, err := s.admin()
	if err == nil {
		err = f(c)
	}
	if err != nil {
		t.Fatalf("Vault's administrator: %v", err)
	}
}

// Seal seals the server.
func (s *Server) Seal(t testing.TB) {
	s.Do(t, func(c *api.Client) error { return c.Sys().Seal() })
}

// Unseal unseals it.
func (s *Server) Unseal(t testing.TB) {
	s.Do(t, func(c *api.Client) error {
		st, err := c.Sys().Unseal(s.unseal)
		if err == nil && st.Sealed {
			err = errors.New("still sealed")
		}
		return errors.Join(err, active(c))
	})
}

// active waits until an unsealed server has taken the lead.
func active(c *api.Client) error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		h, err := c.Sys().Health()
		if err == nil && h.Initialized && !h.Sealed && !h.Standby {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(errors.New("the server did not become active"), err)
		}
	}
}

func (s *Server) initialise(ttl time.Duration) error {
	c, err := s.admin()
	if err != nil {
		return err
	}
	ready, err := c.Sys().InitWithContext(context.Background(), &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return err
	}
	s.unseal, s.root = ready.Keys[0], ready.RootToken
	c.SetToken(s.root)
	if _, err := c.Sys().Unseal(s.unseal); err != nil {
		return err
	}
	if err := active(c); err != nil {
		return err
	}
	write := func(path string, data map[string]any) (*api.Secret, error) { return c.Logical().Write(path, data) }
	if err := c.Sys().Mount("transit", &api.MountInput{Type: "transit"}); err != nil {
		return err
	}
	if err := c.Sys().EnableAuthWithOptions("approle", &api.EnableAuthOptions{Type: "approle"}); err != nil {
		return err
	}
	if err := c.Sys().PutPolicy("sandgate", policy); err != nil {
		return err
	}
	if _, err := write("transit/keys/sandgate-storage", nil); err != nil {
		return err
	}
	if _, err := write("auth/approle/role/sandgate", map[string]any{"token_policies": "sandgate", "token_ttl": ttl.String(), "token_max_ttl": (4 * ttl).String()}); err != nil {
		return err
	}
	role, err := c.Logical().Read("auth/approle/role/sandgate/role-id")
	if err != nil {
		return err
	}
	secret, err := write("auth/approle/role/sandgate/secret-id", nil)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(s.path("role"), []byte(role.Data["role_id"].(string)+"\n"), 0o600),
		os.WriteFile(s.path("secret"), []byte(secret.Data["secret_id"].(string)+"\n"), 0o600),
	)
}

// Config is what a gateway needs to use the server.
func (s *Server) Config() vault.Config {
	return vault.Config{Address: "https://" + s.Addr, CA: s.path("ca.pem"), RoleFile: s.path("role"), SecretFile: s.path("secret")}
}
