// Package letsencrypt stands in for a module that no mirror serves any more. The protocol it spoke
// (ACME v1) was switched off in 2021, so release 2.8 can't use it either way: every call fails.
package letsencrypt

import (
	"crypto/tls"
	"errors"
)

var errGone = errors.New("Let's Encrypt with release 2.8 needs ACME v1, which was switched off in 2021")

// Manager has the methods that the registry calls.
type Manager struct{}

func (*Manager) CacheFile(string) error                   { return errGone }
func (*Manager) Registered() bool                         { return false }
func (*Manager) Register(string, func(string) bool) error { return errGone }
func (*Manager) SetHosts([]string)                        {}
func (*Manager) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return nil, errGone
}
