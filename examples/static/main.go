// Command server greets over HTTP; with the argument "once" it prints the greeting and ends.
package main

import (
	"fmt"
	"net/http"
	"os"
)

const greeting = "hello from go"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "once" {
		fmt.Println(greeting)
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, greeting) })
	if err := http.ListenAndServe(":8080", nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
