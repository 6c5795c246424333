#!/bin/sh
# Each seeded bug must be caught, and nothing be found without one.
exec "${top_builddir:-.}/tests/crash/crash" --mutants
