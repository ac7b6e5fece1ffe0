// Package bilingual makes errors that read in Chinese and in English. An error is
// written where it arises, in English; a Book holds the Chinese beside it, under the
// English format. What wraps such an error keeps both languages. The package does no
// I/O, and its values may be used by several goroutines.
package bilingual

import (
	"fmt"
	"regexp"
	"strings"
)

// Book is the Chinese of a package's error formats, by the English format. Where the
// order of the arguments differs, the Chinese numbers them: %[2]s.
type Book map[string]string

// Error is an error in both languages.
type Error struct {
	english error
	chinese string
}

// Error implements error in English.
func (e *Error) Error() string { return e.english.Error() }

// Unwrap gives what the error wraps.
func (e *Error) Unwrap() error {
	if w, ok := e.english.(interface{ Unwrap() error }); ok {
		return w.Unwrap()
	}
	return nil
}

// Chinese is the error in Chinese.
func (e *Error) Chinese() string { return e.chinese }

// Plain is an error of two finished texts.
func Plain(chinese, english string) *Error {
	return &Error{english: fmt.Errorf("%s", english), chinese: chinese}
}

var wraps = regexp.MustCompile(`%(\[\d+\])?w`)

// Errorf is fmt.Errorf, with at most one %w, and the Chinese that the book has for the
// format. A format that the book lacks reads in English alone.
func (b Book) Errorf(format string, args ...any) error {
	e := &Error{english: fmt.Errorf(format, args...)}
	zh, ok := b[format]
	if !ok {
		e.chinese = e.english.Error()
		return e
	}
	said := make([]any, len(args))
	for i, a := range args {
		said[i] = a
		if err, ok := a.(error); ok {
			said[i] = b.chinese(err)
		}
	}
	e.chinese = fmt.Sprintf(wraps.ReplaceAllString(zh, "%${1}s"), said...)
	return e
}

// chinese is Chinese, with the book's words for an error that has none of its own.
func (b Book) chinese(err error) string {
	if zh, ok := b[err.Error()]; ok {
		return zh
	}
	return Chinese(err)
}

// Chinese is an error in Chinese as far as it has any, its English otherwise; of what
// the system says, the common ends are known. Errors
// that are joined are told one after the other.
func Chinese(err error) string {
	switch e := err.(type) {
	case interface{ Chinese() string }:
		return e.Chinese()
	case interface{ Unwrap() []error }:
		var all []string
		for _, x := range e.Unwrap() {
			all = append(all, Chinese(x))
		}
		return strings.Join(all, "；")
	}
	// What another package wrapped: its words stay in front.
	if w, ok := err.(interface{ Unwrap() error }); ok && w.Unwrap() != nil {
		if front, ok := strings.CutSuffix(err.Error(), w.Unwrap().Error()); ok {
			return front + Chinese(w.Unwrap())
		}
	}
	return ofSystem(err.Error())
}
