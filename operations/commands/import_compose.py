"""`make import`: make a stack file of a registry that runs by Docker Compose."""

from argparse import ArgumentParser, Namespace

from operations import importing
from operations.context import StackContext


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--compose", default="", help="the path of the Compose file")
    parser.add_argument("--service", default="", help="the service that is the registry")


def run(context: StackContext, arguments: Namespace) -> int:
    return importing.main(context.name, arguments.compose, arguments.service)
