package alert

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

type mailbox struct {
	dir, origin string
	from        *mail.Address
	to          []*mail.Address
}

func newMail(c Mail, origin string) (*mailbox, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("failed to make the directory of mail: %w", err)
	}
	m := &mailbox{dir: c.Dir, origin: origin}
	var err error
	if m.from, err = mail.ParseAddress(c.From); err != nil {
		return nil, errors.New("alerts: mail.from is no address")
	}
	for _, t := range c.To {
		to, err := mail.ParseAddress(t)
		if err != nil {
			return nil, errors.New("alerts: mail.to is no address")
		}
		m.to = append(m.to, to)
	}
	return m, nil
}

func (*mailbox) name() string { return "mail" }

// deliver writes one message under a name that is made of its id, so that the same
// alert never lies there twice. A mailer sees whole files only.
func (m *mailbox) deliver(_ context.Context, id string, a state.Alert) error {
	path := filepath.Join(m.dir, id+".eml")
	if _, err := os.Stat(path); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("failed to look for the message: %w", err)
	}
	return durable.Write(path, m.message(id, a, time.Now()), "mail")
}

var severities = map[state.Severity]string{state.SeverityInfo: "提示", state.SeverityWarning: "预警", state.SeveritySerious: "严重"}

// message is a mail in both languages, of ASCII lines that no relay has to change.
func (m *mailbox) message(id string, a state.Alert, now time.Time) []byte {
	var out bytes.Buffer
	header := func(name, value string) { fmt.Fprintf(&out, "%s: %s\r\n", name, value) }
	var to []string
	for _, t := range m.to {
		to = append(to, t.String())
	}
	subject := mime.BEncoding.Encode("utf-8", fmt.Sprintf("[Sandgate %s] %s", severities[a.Severity], a.ZH))
	header("From", m.from.String())
	header("To", strings.Join(to, ",\r\n "))
	header("Subject", strings.ReplaceAll(subject, "?= =?", "?=\r\n =?"))
	header("Date", now.Format(time.RFC1123Z))
	header("Message-ID", "<"+id+"@sandgate.invalid>")
	header("Auto-Submitted", "auto-generated")
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "base64")
	out.WriteString("\r\n")
	text := strings.Join([]string{a.ZH, a.EN, "", "账本 ledger: " + m.origin, "对象 about: " + a.About, "时间 time: " + policies.Clock(a.At), "编号 id: " + a.ID,
		"", "sandgate alert list · sandgate order list · docs/alerts.md", ""}, "\r\n")
	for b := base64.StdEncoding.EncodeToString([]byte(text)); b != ""; {
		n := min(len(b), 76)
		out.WriteString(b[:n] + "\r\n")
		b = b[n:]
	}
	return out.Bytes()
}
