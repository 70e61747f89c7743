import { boot } from "../shared/boot";
import { Console } from "./Console";

void boot({
  page: "console",
  roles: ["dispatcher", "admin"],
  theme: "dark",
  render: (config, session) => <Console config={config} session={session} />,
});
