package main

import (
	"io"
	"net/http"
)

// forger passes requests on and changes the answers to GET.
type forger struct {
	to     string
	change func(string) string
}

func (f forger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, f.to+r.URL.RequestURI(), r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	req.Header = r.Header.Clone()
	req.Header.Del("Accept-Encoding")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	text := string(body)
	if r.Method == http.MethodGet {
		text = f.change(text)
	}
	w.WriteHeader(resp.StatusCode)
	io.WriteString(w, text)
}
