from dmnplus.cli import main

main()
