import { boot } from "../shared/boot";
import { CustomerApp } from "./CustomerApp";

void boot({
  page: "customer",
  roles: ["customer"],
  theme: "system",
  render: (config, session) => <CustomerApp config={config} session={session} />,
});
