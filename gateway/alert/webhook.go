package alert

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/sandgate/sandgate/ledger/state"
)

// Message is what is posted.
type Message struct {
	Type   string      `json:"type"` // alert.KIND
	Origin string      `json:"origin"`
	Data   state.Alert `json:"data"`
}

type webhook struct {
	url    string
	key    []byte
	origin string
	client *http.Client
	// first and last delay of retries.
	first, last time.Duration
}

// Delays of one alert's retries: one second, two, four … of at most a minute each.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
	retries    = 8
	postTime   = 10 * time.Second
)

func newWebhook(c Webhook, origin string) (*webhook, error) {
	key, err := readSecret(c.SecretFile)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("failed to read the webhook's certificate authorities: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("alerts: webhook.ca_file holds no certificate")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	client := &http.Client{Transport: transport, Timeout: postTime,
		// A redirect would carry alerts to an address that nobody configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &webhook{url: c.URL, key: key, origin: origin, client: client, first: firstRetry, last: lastRetry}, nil
}

func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("failed to read the webhook's secret: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the webhook's secret %s can be read by others: chmod 600 it", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("failed to read the webhook's secret: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(string(text)), "whsec_"))
	if err != nil || len(key) < 24 || len(key) > 64 {
		return nil, fmt.Errorf("the webhook's secret %s is not 24 to 64 bytes in base64", path)
	}
	return key, nil
}

func (*webhook) name() string { return "webhook" }

func (w *webhook) deliver(ctx context.Context, id string, a state.Alert) error {
	body, err := json.Marshal(Message{Type: "alert." + string(a.Kind), Origin: w.origin, Data: a})
	if err != nil {
		return fmt.Errorf("failed to encode alert: %w", err)
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, w.url, body)
	if err != nil {
		return fmt.Errorf("failed to address alert: %w", err)
	}
	sign := func(r *http.Request) error {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("User-Agent", "sandgate")
		now := strconv.FormatInt(time.Now().Unix(), 10)
		r.Header.Set("webhook-id", id)
		r.Header.Set("webhook-timestamp", now)
		r.Header.Set("webhook-signature", Sign(w.key, id, now, body))
		return nil
	}
	if err := sign(req.Request); err != nil {
		return err
	}
	// Without a logger: it would write addresses. Every try is signed anew, since a
	// receiver refuses what was signed long ago.
	client := &retryablehttp.Client{HTTPClient: w.client, RetryMax: retries, RetryWaitMin: w.first, RetryWaitMax: w.last,
		CheckRetry: retryablehttp.DefaultRetryPolicy, Backoff: retryablehttp.DefaultBackoff, PrepareRetry: sign}
	resp, err := client.Do(req)
	if err != nil {
		return errors.New("the webhook was not reached")
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return errors.New("the webhook's answer was cut off")
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the webhook answered %d", resp.StatusCode)
	}
	return nil
}

// Sign is the signature of a message as Standard Webhooks define it: version 1,
// HMAC-SHA256 over id, time (Unix seconds) and body.
func Sign(key []byte, id, at string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write(bytes.Join([][]byte{[]byte(id), []byte(at), body}, []byte(".")))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
