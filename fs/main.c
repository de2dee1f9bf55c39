/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/command.h"

int main(int argc, char **argv)
{
	return tp_command_main(argc, argv);
}
