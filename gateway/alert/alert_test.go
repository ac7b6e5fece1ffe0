package alert

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/ledger/state"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

func secretFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("whsec_"+base64.StdEncoding.EncodeToString(secret)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func warning(n int) state.Alert {
	return state.Alert{ID: fmt.Sprintf("order/o-%d", n), Kind: state.AlertOrder, Severity: state.SeveritySerious, About: "licence/alpha-2026",
		At: time.Date(2026, 6, 1, 4, 0, n, 0, time.UTC), ZH: fmt.Sprintf("data_bureau 对 licence/alpha-2026 作出决定 o-%d：暂停，由网关依自动处置规则执行，请尽快核查并恢复", n), EN: "suspended"}
}

// receiver answers by a function of how many posts came, and checks every one.
type receiver struct {
	*httptest.Server
	t      *testing.T
	mu     sync.Mutex
	posts  int
	got    []Message
	ids    []string
	answer func(n int) int
}

func received(t *testing.T, answer func(n int) int) *receiver {
	r := &receiver{t: t, answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		id, at := req.Header.Get("webhook-id"), req.Header.Get("webhook-timestamp")
		if want := Sign(secret, id, at, body); err != nil || req.Header.Get("webhook-signature") != want || req.Method != http.MethodPost {
			t.Errorf("%s %s: signed %q, want %q", req.Method, req.URL, req.Header.Get("webhook-signature"), want)
		}
		if forged := Sign([]byte("another key of thirty-two bytes."), id, at, body); req.Header.Get("webhook-signature") == forged {
			t.Error("any key signs alike")
		}
		var m Message
		if err := json.Unmarshal(body, &m); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		r.posts++
		code := r.answer(r.posts)
		if code/100 == 2 {
			r.got, r.ids = append(r.got, m), append(r.ids, id)
		}
		r.mu.Unlock()
		if code == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) seen() (ids, alerts []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.got {
		alerts = append(alerts, m.Data.ID)
	}
	return slices.Clone(r.ids), alerts
}

// running runs a dispatcher until the function it returns is called.
func running(t *testing.T, c Config, dir string) (*Dispatcher, func()) {
	t.Helper()
	c.Rules = state.DefaultAlertRules
	d, err := Open(c, dir, "sandgate.test/city", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range d.lanes {
		if w, ok := l.sink.(*webhook); ok {
			w.first, w.last = time.Millisecond, 4*time.Millisecond
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { d.Run(ctx); close(ended) }()
	stop := sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return d, stop
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// Every alert arrives once, in order, after errors too, and not again after a
// restart; what was posted and not noted before a crash comes again under the same id.
func TestR33_WebhookDeliversOnce(t *testing.T) {
	r := received(t, func(n int) int {
		if n <= 3 {
			return http.StatusServiceUnavailable
		}
		return http.StatusNoContent
	})
	c, dir := Config{Webhook: &Webhook{URL: r.URL, SecretFile: secretFile(t)}}, filepath.Join(t.TempDir(), "alerts")
	d, stop := running(t, c, dir)
	list := []state.Alert{warning(1), warning(2), warning(3)}
	for range 5 {
		d.Offer(list)
	}
	until(t, "three alerts", func() bool { return d.done.has("webhook", "order/o-3") })
	stop()
	ids, alerts := r.seen()
	if want := []string{"order/o-1", "order/o-2", "order/o-3"}; !slices.Equal(alerts, want) || ids[0] == ids[1] {
		t.Fatalf("delivered %q as %q, want %q", alerts, ids, want)
	}
	d, stop = running(t, c, dir)
	d.Offer(append(list, warning(4)))
	until(t, "the fourth", func() bool { return d.done.has("webhook", "order/o-4") })
	stop()
	if _, alerts = r.seen(); !slices.Equal(alerts[3:], []string{"order/o-4"}) {
		t.Errorf("after a restart: %q", alerts[3:])
	}
	// A crash between the answer and the note: the journal ends in the middle of a line.
	path := filepath.Join(dir, "delivered.jsonl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text[:len(text)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	d, stop = running(t, c, dir)
	d.Offer(append(list, warning(4), warning(5)))
	until(t, "the fifth", func() bool { return d.done.has("webhook", "order/o-5") })
	stop()
	ids, alerts = r.seen()
	if !slices.Equal(alerts[4:], []string{"order/o-4", "order/o-5"}) || ids[4] != ids[3] {
		t.Errorf("after a crash: %q as %q", alerts[4:], ids)
	}
}

// A receiver that never answers keeps neither the gateway nor the mail waiting.
func TestR33_DeadWebhookBlocksNobody(t *testing.T) {
	hang := make(chan struct{})
	dead := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer dead.Close()
	defer close(hang)
	box := filepath.Join(t.TempDir(), "mail")
	d, stop := running(t, Config{Webhook: &Webhook{URL: dead.URL, SecretFile: secretFile(t)}, Mail: &Mail{Dir: box, From: "sandgate@example.gov.cn", To: []string{"a@example.gov.cn"}}}, t.TempDir())
	begin := time.Now()
	for n := range 1000 {
		d.Offer([]state.Alert{warning(1), warning(n + 2)})
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("a thousand offers took %v", took)
	}
	until(t, "mail", func() bool { m, _ := filepath.Glob(filepath.Join(box, "*.eml")); return len(m) >= 2 })
	begin = time.Now()
	stop()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

// A receiver that refuses one alert gets the next, and no redirect is followed.
func TestR33_RefusedAlertRests(t *testing.T) {
	r := received(t, func(n int) int { return []int{http.StatusFound, http.StatusOK, http.StatusOK}[min(n, 3)-1] })
	d, _ := running(t, Config{Webhook: &Webhook{URL: r.URL, SecretFile: secretFile(t)}}, t.TempDir())
	d.Offer([]state.Alert{warning(1), warning(2)})
	until(t, "the second", func() bool { _, a := r.seen(); return slices.Contains(a, "order/o-2") })
	d.Offer([]state.Alert{warning(1), warning(2), warning(3)})
	until(t, "the third", func() bool { _, a := r.seen(); return slices.Contains(a, "order/o-3") })
	if _, a := r.seen(); len(a) != 2 {
		t.Errorf("delivered %q", a)
	}
}

func TestR33_MailIsAWholeMessageOnce(t *testing.T) {
	box := filepath.Join(t.TempDir(), "mail")
	c := Config{Mail: &Mail{Dir: box, From: "公共数据网关 <sandgate@example.gov.cn>", To: []string{"a@example.gov.cn", "值班 <b@example.gov.cn>"}}}
	d, _ := running(t, c, t.TempDir())
	d.Offer([]state.Alert{warning(1)})
	var files []string
	until(t, "a message", func() bool { files, _ = filepath.Glob(filepath.Join(box, "*.eml")); return len(files) > 0 })
	// Another run with no memory finds the message in its place.
	d, _ = running(t, c, t.TempDir())
	d.Offer([]state.Alert{warning(1), warning(2)})
	until(t, "the second", func() bool { files, _ = filepath.Glob(filepath.Join(box, "*")); return len(files) >= 2 })
	time.Sleep(20 * time.Millisecond)
	if files, _ = filepath.Glob(filepath.Join(box, "*")); len(files) != 2 {
		t.Errorf("%q", files)
	}
	raw, err := os.ReadFile(filepath.Join(box, eventID("sandgate.test/city", "order/o-1")+".eml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(raw), "\r\n") {
		if len(line) > 100 || strings.ContainsFunc(line, func(r rune) bool { return r > 126 || r == '\n' }) {
			t.Errorf("line %q", line)
		}
	}
	m, err := mail.ReadMessage(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if to, terr := m.Header.AddressList("To"); err != nil || terr != nil || len(to) != 2 || to[1].Name != "值班" || !strings.Contains(subject, "o-1：暂停") {
		t.Errorf("%q to %v, %v %v", subject, to, err, terr)
	}
	if _, err := m.Header.Date(); err != nil {
		t.Error(err)
	}
	body, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, m.Body))
	if err != nil || !strings.Contains(string(body), "order/o-1") || !strings.Contains(string(body), "suspended") {
		t.Errorf("%q %v", body, err)
	}
}

// What an alert says reaches the headers as text and never as another header.
func FuzzMessage(f *testing.F) {
	f.Add("暂停\r\nBcc: x@example.com", "o\n\n")
	f.Add(strings.Repeat("暂停 ", 200), "id")
	f.Fuzz(func(t *testing.T, zh, id string) {
		m := &mailbox{origin: "o", from: &mail.Address{Address: "a@b"}, to: []*mail.Address{{Address: "c@d"}}}
		got, err := mail.ReadMessage(strings.NewReader(string(m.message(eventID("o", id), state.Alert{ID: id, ZH: zh}, time.Unix(0, 0)))))
		if err != nil || len(got.Header) != 9 {
			t.Fatalf("%v %v", got, err)
		}
	})
}

func TestR33_BadConfigurationsAreRefused(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(open, []byte(base64.StdEncoding.EncodeToString(secret)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(short, []byte("c2hvcnQ="), 0o600); err != nil {
		t.Fatal(err)
	}
	good := "webhook: {url: 'https://a.example.gov.cn/x', secret_file: " + secretFile(t) + "}\n"
	for name, c := range map[string]struct{ text, want string }{
		"nobody to tell":   {"rules: {budget_percent: 80}\n", "neither"},
		"misspelt":         {good + "rule: {}\n", "alerts.md"},
		"not YAML":         {"{secret-word", "alerts.md"},
		"plain http":       {"webhook: {url: 'http://a.example.gov.cn', secret_file: x}\n", "https"},
		"password":         {"webhook: {url: 'https://u:hunter2@a.example.gov.cn', secret_file: x}\n", "without a password"},
		"unsigned":         {"webhook: {url: 'https://a.example.gov.cn'}\n", "secret_file"},
		"threshold":        {good + "rules: {budget_percent: 10}\n", "50…100"},
		"lag":              {good + "rules: {lag: 1s}\n", "10…86400"},
		"mail to nobody":   {"mail: {dir: x, from: a@b.cn}\n", "dir and to"},
		"bad address":      {"mail: {dir: x, from: a@b.cn, to: ['nobody']}\n", "addresses"},
		"secret is open":   {strings.Replace(good, good[strings.Index(good, "secret_file: ")+13:len(good)-2], open, 1), "chmod 600"},
		"secret too short": {strings.Replace(good, good[strings.Index(good, "secret_file: ")+13:len(good)-2], short, 1), "24 to 64"},
		"the control":      {good, ""},
	} {
		path := filepath.Join(t.TempDir(), "alerts.yaml")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		conf, err := ReadConfig(path)
		if err == nil {
			_, err = Open(conf, t.TempDir(), "o", slog.New(slog.DiscardHandler))
		}
		if c.want == "" != (err == nil) || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "secret-word")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
