// Command countersign is the gateway and everything that people do with it from a shell.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], system()))
}
